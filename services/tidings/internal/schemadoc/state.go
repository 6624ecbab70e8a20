package schemadoc

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// What is described has to be linked, be it that nothing in the program uses it.
	_ "github.com/tidings-dev/tidings/gen/audit/v1"
	_ "github.com/tidings-dev/tidings/gen/directory/v1"
	_ "github.com/tidings-dev/tidings/gen/mailer/v1"
	_ "github.com/tidings-dev/tidings/gen/users/events/v1"
	_ "github.com/tidings-dev/tidings/gen/users/events/v2"
	_ "github.com/tidings-dev/tidings/gen/users/v1"
	schemas "github.com/tidings-dev/tidings/proto"
)

// Today is the name of the state that this program was built with.
const Today = "today"

// State is the contracts as they are at one time.
type State struct {
	Name     string // "0.1.0", or Today
	files    []protoreflect.FileDescriptor
	comments func(protoreflect.Descriptor) string
	elements []Element // in order of file, and of place in it
	byName   map[string]int
}

// Contracts are all states that the program knows of.
type Contracts struct {
	Releases []*State // oldest first
	Today    *State
}

// Load reads them. Its errors are faults of the program's build.
func Load() (*Contracts, error) { return load(schemas.Released, schemas.Sources) }

func load(released, sources fs.FS) (*Contracts, error) {
	names, err := fs.Glob(released, "released/v*.binpb")
	if err != nil {
		return nil, fmt.Errorf("schemas: %w", err)
	}
	slices.SortFunc(names, compareReleases)
	c := &Contracts{}
	for _, name := range names {
		s, err := release(released, name)
		if err != nil {
			return nil, fmt.Errorf("schemas: %s: %w", name, err)
		}
		c.Releases = append(c.Releases, s)
	}
	if c.Today, err = today(sources); err != nil {
		return nil, fmt.Errorf("schemas: %w", err)
	}
	return c, nil
}

// versionOf is the release that a file is of: "0.1.0".
func versionOf(file string) string {
	return strings.TrimPrefix(strings.TrimSuffix(path.Base(file), ".binpb"), "v")
}

// compareReleases orders by version, number by number.
func compareReleases(a, b string) int {
	as, bs := strings.Split(versionOf(a), "."), strings.Split(versionOf(b), ".")
	return slices.CompareFunc(as, bs, func(a, b string) int {
		x, errA := strconv.Atoi(a)
		y, errB := strconv.Atoi(b)
		if errA != nil || errB != nil {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(x, y)
	})
}

// release reads a descriptor image.
func release(from fs.FS, name string) (*State, error) {
	image, err := fs.ReadFile(from, name)
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(image, set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, err
	}
	s := &State{Name: versionOf(name), comments: commentOf}
	for _, f := range set.GetFile() {
		if ours(f.GetName()) {
			d, err := files.FindFileByPath(f.GetName())
			if err != nil {
				return nil, err
			}
			s.files = append(s.files, d)
		}
	}
	s.collect()
	return s, nil
}

// ours tells our files from those that they import.
func ours(file string) bool { return !strings.HasPrefix(file, "google/") }

// commentOf is what stands before a declaration, in an image that has its sources' comments.
func commentOf(d protoreflect.Descriptor) string {
	return strings.TrimSpace(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments)
}

// today takes what is linked into the program, and the comments from the sources.
func today(sources fs.FS) (*State, error) {
	s := &State{Name: Today}
	comments := make(map[protoreflect.FullName]string)
	err := fs.WalkDir(sources, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		linked, err := protoregistry.GlobalFiles.FindFileByPath(file)
		if errors.Is(err, protoregistry.NotFound) {
			return fmt.Errorf("%s is not linked into this program: import its package of gen/ in services/tidings/internal/schemadoc/state.go", file)
		}
		text, readErr := fs.ReadFile(sources, file)
		if err := errors.Join(err, readErr); err != nil {
			return err
		}
		readComments(comments, linked.Package(), string(text))
		s.files = append(s.files, linked)
		return nil
	})
	s.comments = func(d protoreflect.Descriptor) string { return comments[d.FullName()] }
	s.collect()
	return s, err
}

// names are the states' names, as a person may type them.
func (c *Contracts) names() []string {
	names := []string{Today}
	for _, r := range c.Releases {
		names = append(names, r.Name)
	}
	return names
}

// State finds a state by the name of a release, with or without a v in front, or [Today]. Its error names the nearest.
func (c *Contracts) State(name string) (*State, error) {
	if name == Today {
		return c.Today, nil
	}
	for _, r := range c.Releases {
		if r.Name == strings.TrimPrefix(name, "v") {
			return r, nil
		}
	}
	return nil, unknown("release", name, c.names())
}

// Newest is the release before today; today's own state where nothing was released.
func (c *Contracts) Newest() *State {
	if len(c.Releases) == 0 {
		return c.Today
	}
	return c.Releases[len(c.Releases)-1]
}

// Unreleased stands for the release of what no release has yet.
const Unreleased = "unreleased"

// Since is the first release that has an element; [Unreleased] where none has.
func (c *Contracts) Since(e Element) string {
	for _, r := range c.Releases {
		if _, ok := r.byName[e.key()]; ok {
			return r.Name
		}
	}
	return Unreleased
}
