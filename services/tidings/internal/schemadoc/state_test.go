package schemadoc

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	schemas "github.com/tidings-dev/tidings/proto"
)

// contracts are today's, with the releases of the test: 0.1.0 as it was, and after it states that change makes of today's.
func contracts(t *testing.T, change map[string]func(*descriptorpb.FileDescriptorSet)) *Contracts {
	t.Helper()
	first, err := fs.ReadFile(schemas.Released, "released/v0.1.0.binpb")
	if err != nil {
		t.Fatal(err)
	}
	released := fstest.MapFS{"released/v0.1.0.binpb": {Data: first}}
	for version, fn := range change {
		image, err := proto.Marshal(imageOfToday(t, fn))
		if err != nil {
			t.Fatal(err)
		}
		released["released/v"+version+".binpb"] = &fstest.MapFile{Data: image}
	}
	c, err := load(released, schemas.Sources)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// imageOfToday is what a release of today would be, but for comments.
func imageOfToday(t *testing.T, change func(*descriptorpb.FileDescriptorSet)) *descriptorpb.FileDescriptorSet {
	t.Helper()
	now, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	for _, f := range now.Today.files {
		add(f)
	}
	if change != nil {
		change(set)
	}
	return set
}

// messageIn finds a message of a file of an image.
func messageIn(set *descriptorpb.FileDescriptorSet, file, name string) *descriptorpb.DescriptorProto {
	for _, f := range set.GetFile() {
		for _, m := range f.GetMessageType() {
			if f.GetName() == file && m.GetName() == name {
				return m
			}
		}
	}
	return nil
}

func TestTheProgramsOwnContractsAreWhole(t *testing.T) {
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Releases) == 0 || c.Releases[0].Name != "0.1.0" || c.Newest() != c.Releases[len(c.Releases)-1] {
		t.Errorf("releases %v", c.names())
	}
	// Lint asks for a comment on everything, so each one that is missing here was not found.
	for _, e := range c.Today.elements {
		if e.Kind != "message" && e.Kind != "enum" && e.Kind != "service" {
			continue
		}
		shown, err := c.Show(c.Today, e.Name)
		if err != nil || shown.Comment == "" || shown.Kind != e.Kind {
			t.Errorf("%s %s: %v, comment %q", e.Kind, e.Name, err, shown.Comment)
		}
		for _, m := range shown.Members {
			if m.Comment == "" || m.Since == "" {
				t.Errorf("%s.%s has no comment", e.Name, m.Name)
			}
		}
	}
}

func TestEventsAreTheMessagesThatAreNoPartOfAnother(t *testing.T) {
	var names []string
	for _, m := range contracts(t, nil).Today.EventTypes() {
		names = append(names, string(m.FullName()))
	}
	for _, want := range []string{"users.events.v1.UserCreated", "users.events.v1.UserDeleted", "users.events.v2.UserUpdated"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	for _, none := range []string{"users.events.v1.User", "users.events.v2.PersonName", "users.v1.CreateUserRequest"} {
		if slices.Contains(names, none) {
			t.Errorf("%s is among %v", none, names)
		}
	}
}

// What is reached through a map, or from a message within a message, is a part as well.
func TestWhatAMapHoldsIsNoEvent(t *testing.T) {
	str, msg := descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
	one, many := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	f, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("some/events/v1/e.proto"), Package: proto.String("some.events.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Granted"),
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("reasons"), Number: proto.Int32(1), Label: many, Type: msg, TypeName: proto.String(".some.events.v1.Granted.ReasonsEntry"),
			}},
			NestedType: []*descriptorpb.DescriptorProto{{
				Name: proto.String("ReasonsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
				Field: []*descriptorpb.FieldDescriptorProto{
					{Name: proto.String("key"), Number: proto.Int32(1), Label: one, Type: str},
					{Name: proto.String("value"), Number: proto.Int32(2), Label: one, Type: msg, TypeName: proto.String(".some.events.v1.Reason")},
				},
			}},
		}, {Name: proto.String("Reason")}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := State{files: []protoreflect.FileDescriptor{f}}
	if events := s.EventTypes(); len(events) != 1 || events[0].Name() != "Granted" {
		t.Errorf("events are %v", events)
	}
}

func TestSinceIsTheFirstReleaseThatHasIt(t *testing.T) {
	c := contracts(t, map[string]func(*descriptorpb.FileDescriptorSet){"0.2.0": nil, "0.10.0": nil})
	if got := strings.Join(c.names(), " "); got != "today 0.1.0 0.2.0 0.10.0" {
		t.Errorf("states %s", got)
	}
	for key, want := range map[string]string{
		"message users.events.v1.User": "0.1.0", "field users.events.v1.User.phone": "0.2.0",
		"message users.events.v2.PersonName": "0.2.0", "field users.events.v1.User.fax": Unreleased,
	} {
		kind, name, _ := strings.Cut(key, " ")
		if got := c.Since(Element{Kind: kind, Name: name}); got != want {
			t.Errorf("%s since %s, want %s", key, got, want)
		}
	}
	if got := contracts(t, nil).Since(Element{Kind: "field", Name: "users.events.v1.User.phone"}); got != Unreleased {
		t.Errorf("phone since %s before its release", got)
	}
}

func TestAReleaseIsShownAsItWas(t *testing.T) {
	c := contracts(t, nil)
	then, err := c.State("v0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := c.Show(then, "users.events.v1.User")
	if err != nil || len(shown.Members) != 6 || shown.Release != "0.1.0" || shown.Since != "0.1.0" {
		t.Fatalf("%+v, %v", shown, err)
	}
	if m := shown.Members[4]; m.Name != "create_time" || m.Number != 5 || m.Type != "google.protobuf.Timestamp" ||
		m.Presence != "may be absent" || !strings.HasPrefix(m.Comment, "When the user was created") {
		t.Errorf("%+v", m)
	}
	shown, err = c.Show(c.Today, "users.events.v1.User")
	if err != nil || len(shown.Members) < 9 || shown.Members[6].Type != "optional string" || shown.Members[0].Presence != "absent is zero" {
		t.Errorf("%+v, %v", shown, err)
	}
	shown, err = c.Show(c.Today, "users.v1.UserService")
	if err != nil || shown.Kind != "service" || shown.Members[0].Type != "(users.v1.GetUserRequest) returns (users.v1.GetUserResponse)" {
		t.Errorf("%+v, %v", shown, err)
	}
}

func TestWhatIsNotThereSuggestsWhatIs(t *testing.T) {
	c := contracts(t, nil)
	for name, want := range map[string]string{
		"UserCreted":                   "did you mean users.events.v1.UserCreated or users.events.v2.UserCreated?",
		"UserDeleted":                  "did you mean users.events.v1.UserDeleted or users.events.v2.UserDeleted?",
		"users.event.v1.UserUpdated":   "did you mean users.events.v1.UserUpdated?",
		"something.else.entirely.Here": "`tidings schema ls` lists",
	} {
		var unknown *UnknownError
		if _, err := c.Show(c.Today, name); !errors.As(err, &unknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for name, want := range map[string]string{"0.1.1": "did you mean 0.1.0?", "tody": "did you mean today?", "2026.11": "there is 0.1.0 or today"} {
		if _, err := c.State(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := c.Show(c.Releases[0], "users.events.v2.UserCreated"); err == nil || !strings.Contains(err.Error(), "type of 0.1.0") {
		t.Errorf("%v", err)
	}
}

func TestDiffSaysWhatWasAddedChangedAndRemoved(t *testing.T) {
	c := contracts(t, map[string]func(*descriptorpb.FileDescriptorSet){"0.2.0": func(set *descriptorpb.FileDescriptorSet) {
		user := messageIn(set, "users/events/v1/events.proto", "User")
		user.Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum() // email
	}})
	find := func(changes []Change, change, name string) (found Change) {
		t.Helper()
		for _, c := range changes {
			if c.Change == change && c.Name == name {
				return c
			}
		}
		t.Errorf("%s was not %s", name, change)
		return found
	}
	added := Diff(c.Releases[0], c.Today)
	if got := find(added, "added", "users.events.v1.User.phone"); got.Kind != "field" || got.Detail != "optional string = 9" || got.Within {
		t.Errorf("%+v", got)
	}
	if got := find(added, "added", "users.events.v2.NameOrder.NAME_ORDER_FAMILY_FIRST"); got.Kind != "value" || got.Detail != "= 2" || !got.Within {
		t.Errorf("%+v", got)
	}
	if slices.ContainsFunc(added, func(c Change) bool { return c.Change != "added" }) {
		t.Errorf("not only added: %+v", added)
	}
	if got := find(Diff(c.Today, c.Releases[0]), "removed", "users.events.v2.PersonName.given"); !got.Within {
		t.Errorf("%+v", got)
	}
	changed := Diff(c.Releases[1], c.Today)
	if got := find(changed, "changed", "users.events.v1.User.email"); got.Was != "bytes = 2" || got.Detail != "string = 2" || len(changed) != 1 {
		t.Errorf("%+v", changed)
	}
	if none := Diff(c.Today, c.Today); len(none) != 0 {
		t.Errorf("%+v", none)
	}
}

func TestABuildThatLacksSomethingSaysSo(t *testing.T) {
	sources := fstest.MapFS{"some/v1/thing.proto": {Data: []byte("syntax = \"proto3\";")}}
	if _, err := load(fstest.MapFS{}, sources); err == nil || !strings.Contains(err.Error(), "some/v1/thing.proto is not linked") {
		t.Errorf("got %v", err)
	}
	bad := fstest.MapFS{"released/v1.0.0.binpb": {Data: []byte("no image")}}
	if _, err := load(bad, schemas.Sources); err == nil || !strings.Contains(err.Error(), "v1.0.0.binpb") {
		t.Errorf("got %v", err)
	}
	c, err := load(fstest.MapFS{}, schemas.Sources)
	if err != nil || c.Newest() != c.Today {
		t.Errorf("with no release: %v", err)
	}
}
