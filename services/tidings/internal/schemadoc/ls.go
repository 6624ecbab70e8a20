package schemadoc

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tidings-dev/tidings/bus/announce"
)

// Declared is what a service of this program publishes or reads, by its own code.
type Declared struct {
	Role    announce.Role `json:"role"`
	Service string        `json:"service"`
	Types   []string      `json:"types"` // [announce.AnyType] for whatever comes
}

// covers reports whether d is about a type.
func (d *Declared) covers(typ string) bool {
	return slices.Contains(d.Types, typ) || slices.Contains(d.Types, announce.AnyType)
}

// Listing is who publishes and who reads which types of events.
type Listing struct {
	Packages []Package `json:"packages"` // in order
	Types    []Type    `json:"types"`    // in order
	// Bus is where announcements were looked for; nil where nowhere was.
	Bus *Bus `json:"bus,omitempty"`
}

// Bus is what was announced on a bus.
type Bus struct {
	URL      string   `json:"url"`
	Topic    string   `json:"topic"` // of the events
	KeepsLog bool     `json:"keeps_log"`
	Spoken   []Spoken `json:"announcements"`
}

// Spoken is somebody's last word.
type Spoken struct {
	announce.Announcement
	Silent bool `json:"silent"` // it was not renewed when it should have been
	// Formerly are types that were named before and are no more, and when last.
	Formerly map[string]time.Time `json:"formerly,omitempty"`
}

// Type is a type of events.
type Type struct {
	Type      string   `json:"type"`
	Package   string   `json:"package"`
	Version   string   `json:"version"` // of the package: "v1"
	Since     string   `json:"since"`   // the first release that has it, or unreleased
	Publishes []string `json:"published_by"`
	Reads     []string `json:"read_by"` // services of this program, by their own code
}

// Package is a version of the events, and who reads it on the bus.
type Package struct {
	Package string `json:"package"`
	// The rest says what was announced, and is empty without a bus. Reads are those who name a type of it; whoever
	// reads any type needs none of it, and stands in Any.
	Publishes []string `json:"published_by,omitempty"` // groups that are not silent
	Reads     []string `json:"read_by,omitempty"`      // groups that are not silent
	Silent    []string `json:"silent_readers,omitempty"`
	Any       []string `json:"any_readers,omitempty"`
	// NeededBy are those of Reads and Silent who name a type of it, and not the same type of another version of the
	// package that is published: the version can't be stopped for them. Everybody else takes the other version.
	NeededBy []string `json:"needed_by,omitempty"`
	// LastRead is when somebody last said that it reads a type of it, who says so no more; zero where nobody did, as
	// far as the bus still has it.
	LastRead *time.Time `json:"last_read,omitempty"`
}

// List says who publishes and reads the types of today.
func (c *Contracts) List(declared []Declared, heard *Bus) Listing {
	l := Listing{Bus: heard}
	for _, m := range c.Today.EventTypes() {
		l.Types = append(l.Types, c.typeOf(m, declared))
	}
	slices.SortFunc(l.Types, func(a, b Type) int { return cmp.Compare(a.Type, b.Type) })
	for _, t := range l.Types {
		if n := len(l.Packages); n == 0 || l.Packages[n-1].Package != t.Package {
			l.Packages = append(l.Packages, Package{Package: t.Package})
		}
	}
	if heard != nil {
		told := published(heard.Spoken)
		for i := range l.Packages {
			l.Packages[i].hear(heard.Spoken, told)
		}
	}
	return l
}

func (c *Contracts) typeOf(m protoreflect.MessageDescriptor, declared []Declared) Type {
	name, pkg := string(m.FullName()), m.ParentFile().Package()
	t := Type{
		Type: name, Package: string(pkg), Version: string(pkg.Name()), Since: c.Since(Element{Kind: "message", Name: name}),
		Publishes: []string{}, Reads: []string{},
	}
	for _, d := range declared {
		switch {
		case !d.covers(name):
		case d.Role == announce.Publishes:
			t.Publishes = append(t.Publishes, d.Service)
		default:
			t.Reads = append(t.Reads, d.Service)
		}
	}
	return t
}

// hear takes what was announced about a type of the package.
func (p *Package) hear(spoken []Spoken, published map[string]bool) {
	has := func(typ string) bool { return strings.HasPrefix(typ, p.Package+".") }
	for _, s := range spoken {
		named := slices.ContainsFunc(s.Types, has)
		if s.Role == announce.Reads && p.neededBy(s.Types, published) {
			p.NeededBy = append(p.NeededBy, s.Group)
		}
		switch {
		case s.Role == announce.Publishes && named && !s.Silent:
			p.Publishes = append(p.Publishes, s.Group)
		case s.Role == announce.Publishes:
		case named && s.Silent:
			p.Silent = append(p.Silent, s.Group)
		case named:
			p.Reads = append(p.Reads, s.Group)
		case s.Covers(announce.AnyType):
			p.Any = append(p.Any, s.Group)
		}
		for typ, at := range s.Formerly {
			if s.Role == announce.Reads && has(typ) && (p.LastRead == nil || at.After(*p.LastRead)) {
				p.LastRead = &at
			}
		}
	}
}

// published are the types that somebody publishes at present.
func published(spoken []Spoken) map[string]bool {
	types := make(map[string]bool)
	for _, s := range spoken {
		for _, typ := range s.Types {
			types[typ] = types[typ] || s.Role == announce.Publishes && !s.Silent
		}
	}
	return types
}

// neededBy reports whether somebody who reads these types reads one of the package that it reads in no other version that
// is published.
func (p *Package) neededBy(types []string, published map[string]bool) bool {
	family := p.Package[:strings.LastIndexByte(p.Package, '.')+1]
	return slices.ContainsFunc(types, func(typ string) bool {
		message, ok := strings.CutPrefix(typ, p.Package)
		return ok && strings.HasPrefix(message, ".") && !slices.ContainsFunc(types, func(other string) bool {
			version, ok := strings.CutSuffix(other, message)
			version, in := strings.CutPrefix(version, family)
			return ok && in && other != typ && published[other] && !strings.Contains(version, ".")
		})
	})
}
