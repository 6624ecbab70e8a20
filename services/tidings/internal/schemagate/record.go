package schemagate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Recording is what is to be recorded.
type Recording struct {
	// Type is the full name of an event type: users.events.v1.UserCreated.
	Type string
	// Case is what to call it, in small letters, digits, dots and hyphens; "" is a name that is free.
	Case string
	// JSON is the message in protojson. nil makes messages up that say all that the type can say.
	JSON []byte
	// AsOf makes the event one of a release: with what its messages had then, and nothing that came later. "" is now.
	AsOf string
	// Ext are further attributes of the event, such as traceparent.
	Ext map[string]string
}

// Names of fields that say what the event says too.
const (
	keyField     = "id"
	versionField = "version"
)

var caseName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)

// CheckCase refuses what can't be the name of a case.
func CheckCase(name string) error {
	if !caseName.MatchString(name) {
		return fmt.Errorf("--case %q: pass 1 to 64 small letters, digits, dots and hyphens, such as no-phone", name)
	}
	return nil
}

// Record adds golden events to the corpus, and returns their folders, from the top of the checkout. It changes none
// that is there: a case that exists is an error. Without Case, JSON and AsOf it records what the newest release has of
// the type too, where that is less than today and was not recorded yet: an event as the oldest producers still send it.
// Where nothing else is asked for, and the corpus lacks nothing of the type, it records nothing, and returns no folder.
func (g Gate) Record(ctx context.Context, r Recording) (dirs []string, err error) {
	now, _, faults, err := g.schema(ctx)
	if err != nil {
		return nil, err
	}
	if len(faults) > 0 {
		return nil, &FaultsError{faults}
	}
	m, err := now.eventType(r.Type)
	if err != nil {
		return nil, err
	}
	if r.AsOf != "" {
		if now, m, err = g.eventTypeAsOf(r.Type, r.AsOf); err != nil {
			return nil, err
		}
	}
	if r.Case == "" && r.AsOf == "" && r.JSON == nil && len(r.Ext) == 0 {
		return g.recordLacking(r, now, m)
	}
	goldens, err := g.compose(r, now, m)
	if err == nil && r.Case == "" && r.AsOf == "" && r.JSON == nil { // with attributes of its own
		goldens, err = g.addAsOfNewest(goldens, r, m)
	}
	if err != nil {
		return nil, err
	}
	return g.writeAll(goldens)
}

// recordLacking records what the gate asks for, which may be nothing.
func (g Gate) recordLacking(r Recording, now *schema, m protoreflect.MessageDescriptor) ([]string, error) {
	lacks, err := g.lacks(now, m)
	if err != nil {
		return nil, err
	}
	var goldens []Golden
	if lacks {
		if goldens, err = g.compose(r, now, m); err != nil {
			return nil, err
		}
	}
	if goldens, err = g.addAsOfNewest(goldens, r, m); err != nil {
		return nil, err
	}
	return g.writeAll(goldens)
}

// writeAll writes cases, and returns the folders of those that it has written.
func (g Gate) writeAll(goldens []Golden) (dirs []string, err error) {
	for _, golden := range goldens {
		if err := g.write(&golden); err != nil {
			return dirs, err
		}
		dirs = append(dirs, golden.dir())
	}
	return dirs, nil
}

// eventType finds an event type, or lists those that there are.
func (s *schema) eventType(name string) (protoreflect.MessageDescriptor, error) {
	var names []string
	for _, m := range s.eventTypes() {
		if string(m.FullName()) == name {
			return m, nil
		}
		names = append(names, string(m.FullName()))
	}
	if m := s.message(name); m != nil && !eventPackage.MatchString(string(m.ParentFile().Package())) {
		return nil, fmt.Errorf("%s is no event: its package %s is not one of events (…events.vN); pass one of %s", name, m.ParentFile().Package(), strings.Join(names, ", "))
	} else if m != nil {
		return nil, fmt.Errorf("%s is a part of events, and none that travels by itself; pass one of %s", name, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("there is no event type %s; pass one of %s", name, strings.Join(names, ", "))
}

// eventTypeAsOf finds an event type as it was released.
func (g Gate) eventTypeAsOf(name, release string) (*schema, protoreflect.MessageDescriptor, error) {
	v, err := parseVersion(release)
	if err != nil {
		return nil, nil, fmt.Errorf("--as-of: %w", err)
	}
	s, err := g.released(v)
	if err != nil {
		return nil, nil, fmt.Errorf("--as-of: %w", err)
	}
	m := s.message(name)
	if m == nil {
		return nil, nil, fmt.Errorf("--as-of %v: there was no %s then", v, name)
	}
	return s, m, nil
}

// compose makes the golden events that r asks for.
func (g Gate) compose(r Recording, s *schema, d protoreflect.MessageDescriptor) ([]Golden, error) {
	name := func(i int) string { return g.freeName(r, i) }
	t := dynamicpb.NewMessageType(d)
	var messages []protoreflect.Message
	if r.JSON != nil {
		m := t.New()
		if err := (protojson.UnmarshalOptions{Resolver: s.types}).Unmarshal(r.JSON, m.Interface()); err != nil {
			return nil, fmt.Errorf("--json: as a %s: %w", d.FullName(), err)
		}
		messages = append(messages, m)
	} else {
		messages = examples(t, func(i int) string { return exampleKey(r.Type, name(i)) }, defaultVersion(r.Type))
	}
	var all []Golden
	for i, m := range messages {
		golden, err := compose(r, s, name(i), m)
		if err != nil {
			return nil, err
		}
		all = append(all, golden)
	}
	return all, nil
}

// freeName names the i-th case of a recording: as asked for, else "filled" or what it is as of, with a number where
// that is taken.
func (g Gate) freeName(r Recording, i int) string {
	name := cmp.Or(r.Case, "filled")
	if r.Case == "" && r.AsOf != "" {
		name = asOf(r.AsOf)
	} else if r.Case == "" && r.JSON != nil {
		name = "given"
	}
	for n, free := 1, -1; ; n++ {
		candidate := name
		if n > 1 {
			candidate = fmt.Sprintf("%s-%d", name, n)
		}
		if r.Case != "" { // taken or not, which is an error then
			if n == i+1 {
				return candidate
			}
			continue
		}
		if !g.has(r.Type, candidate) {
			free++
		}
		if free == i {
			return candidate
		}
	}
}

// asOf is what the case is called that was made up as of a release.
func asOf(release string) string { return "as-of-" + strings.TrimPrefix(release, "v") }

// has reports whether a case is there.
func (g Gate) has(typ, name string) bool {
	_, err := os.Lstat(filepath.Join(g.Dir, protoDir, corpusDir, typ, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// addAsOfNewest adds the event as of the newest release, where that had less to say.
func (g Gate) addAsOfNewest(goldens []Golden, r Recording, now protoreflect.MessageDescriptor) ([]Golden, error) {
	all, err := g.releases()
	if err != nil || len(all) == 0 {
		return goldens, err
	}
	newest := all[len(all)-1]
	s, err := g.released(newest)
	if err != nil {
		return nil, err
	}
	then := s.message(r.Type)
	if then == nil || len(needs(then)) == len(needs(now)) || g.has(r.Type, asOf(newest.String())) {
		return goldens, nil
	}
	r.AsOf = newest.String()
	older, err := g.compose(r, s, then)
	return append(goldens, older...), err
}

// write writes the files of a case beside where they belong, and moves them there when they are whole.
func (g Gate) write(golden *Golden) error {
	document, err := golden.formatJSON()
	if err != nil {
		return err
	}
	if g.has(golden.Type, golden.Case) {
		return fmt.Errorf("%s is there, and what is recorded never changes; pass --case with another name, or none", golden.dir())
	}
	parent := filepath.Join(g.Dir, protoDir, corpusDir, golden.Type)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	// Under a name that readers pass over, so that none finds half of a case.
	work, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) // nothing is left of it once it was moved
	for name, b := range map[string][]byte{
		fileJSON: document, filePayload: golden.Payload, fileStructured: golden.Structured, fileHeaders: formatHeaders(golden.Headers),
	} {
		if err := os.WriteFile(filepath.Join(work, name), b, 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	return os.Rename(work, filepath.Join(parent, golden.Case))
}
