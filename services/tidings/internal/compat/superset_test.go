package compat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// lacks says what of old is not, or is otherwise, in today: messages, fields, enum values, RPCs.
func lacks(old, today *protoregistry.Files) (diffs []string) {
	add := func(d protoreflect.Descriptor, was, is any) {
		if was != is {
			diffs = append(diffs, fmt.Sprintf("%s: was %v, is %v", d.FullName(), was, is))
		}
	}
	var message func(m protoreflect.MessageDescriptor)
	message = func(m protoreflect.MessageDescriptor) {
		is, _ := find[protoreflect.MessageDescriptor](today, m.FullName())
		if is == nil {
			add(m, "a message", "none")
			return
		}
		for i := range m.Fields().Len() {
			was := m.Fields().Get(i)
			add(was, fieldText(was), fieldText(is.Fields().ByNumber(was.Number())))
		}
		for i := range m.Messages().Len() {
			message(m.Messages().Get(i))
		}
		for i := range m.Enums().Len() {
			enum(m.Enums().Get(i), today, add)
		}
	}
	old.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Messages().Len() {
			message(f.Messages().Get(i))
		}
		for i := range f.Enums().Len() {
			enum(f.Enums().Get(i), today, add)
		}
		return true
	})
	for _, was := range methods(old) {
		is, _ := find[protoreflect.MethodDescriptor](today, was.FullName())
		add(was, methodText(was), methodText(is))
	}
	return diffs
}

func find[D protoreflect.Descriptor](files *protoregistry.Files, name protoreflect.FullName) (D, bool) {
	d, _ := files.FindDescriptorByName(name)
	found, ok := d.(D)
	return found, ok
}

func enum(e protoreflect.EnumDescriptor, today *protoregistry.Files, add func(d protoreflect.Descriptor, was, is any)) {
	is, ok := find[protoreflect.EnumDescriptor](today, e.FullName())
	for i := range e.Values().Len() {
		was, name := e.Values().Get(i), protoreflect.Name("(none)")
		if ok {
			if v := is.Values().ByNumber(was.Number()); v != nil {
				name = v.Name()
			}
		}
		add(was, was.Name(), name)
	}
}

// fieldText is all that bytes and JSON of a field depend on.
func fieldText(f protoreflect.FieldDescriptor) string {
	if f == nil {
		return "none"
	}
	of, oneof := protoreflect.FullName(""), protoreflect.Name("")
	switch {
	case f.Message() != nil:
		of = f.Message().FullName()
	case f.Enum() != nil:
		of = f.Enum().FullName()
	}
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		oneof = o.Name()
	}
	return fmt.Sprintf("%s = %d, %v %v %s, presence %t, JSON %s, oneof %q", f.Name(), f.Number(), f.Cardinality(), f.Kind(), of, f.HasPresence(), f.JSONName(), oneof)
}

func methodText(m protoreflect.MethodDescriptor) string {
	if m == nil {
		return "none"
	}
	return fmt.Sprintf("%s -> %s, streams %t %t", m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer())
}

// changed is the image of 0.1.0 with one thing in it changed.
func changed(t *testing.T, file string, change func(*descriptorpb.FileDescriptorProto)) *protoregistry.Files {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	older(t).RangeFiles(func(f protoreflect.FileDescriptor) bool {
		p := proto.CloneOf(protodesc.ToFileDescriptorProto(f))
		if p.GetName() == file {
			change(p)
		}
		set.File = append(set.File, p)
		return true
	})
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestALackIsNamed(t *testing.T) {
	const events, api = "users/events/v1/events.proto", "mailer/v1/mailer_service.proto"
	message := func(f *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
		return f.MessageType[slices.IndexFunc(f.MessageType, func(m *descriptorpb.DescriptorProto) bool { return m.GetName() == name })]
	}
	for want, tt := range map[string]struct {
		file   string
		change func(*descriptorpb.FileDescriptorProto)
	}{
		"users.events.v1.User.name: was name = 3": {events, func(f *descriptorpb.FileDescriptorProto) {
			m := message(f, "User")
			m.Field = slices.DeleteFunc(m.Field, func(d *descriptorpb.FieldDescriptorProto) bool { return d.GetName() == "name" })
		}},
		"users.events.v1.User.email: was email = 2": {events, func(f *descriptorpb.FileDescriptorProto) { message(f, "User").Field[1].Number = proto.Int32(50) }},
		"is mail = 2": {events, func(f *descriptorpb.FileDescriptorProto) { message(f, "User").Field[1].Name = proto.String("mail") }},
		"optional bytes": {events, func(f *descriptorpb.FileDescriptorProto) {
			message(f, "User").Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
		}},
		"users.events.v1.UserDeleted: was a message, is none": {events, func(f *descriptorpb.FileDescriptorProto) { message(f, "UserDeleted").Name = proto.String("UserGone") }},
		"mailer.v1.Message.STATE_SENT: was STATE_SENT, is STATE_GONE": {api, func(f *descriptorpb.FileDescriptorProto) {
			message(f, "Message").EnumType[0].Value[3].Name = proto.String("STATE_GONE")
		}},
		"mailer.v1.MailerService.GetMessage: was mailer.v1.GetMessageRequest": {api, func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method[1].InputType = proto.String(".mailer.v1.ListMessagesRequest")
		}},
	} {
		diffs := lacks(older(t).Files, changed(t, tt.file, tt.change))
		if !slices.ContainsFunc(diffs, func(d string) bool { return strings.Contains(d, want) }) {
			t.Errorf("%q is not named: %q", want, diffs)
		}
	}
	if diffs := lacks(older(t).Files, older(t).Files); len(diffs) > 0 {
		t.Errorf("it lacks of itself %q", diffs)
	}
	if diffs := lacks(older(t).Files, protoregistry.GlobalFiles); len(diffs) > 0 {
		t.Errorf("what this program links lacks %q", diffs)
	}
}
