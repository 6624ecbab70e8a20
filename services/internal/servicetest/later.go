package servicetest

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tidings-dev/tidings/bus"
)

// LaterNumber is that of the field that a later release has added to each message, and of the value that it has added to
// each enum; LaterText is what the field says.
const (
	LaterNumber = 1000
	LaterText   = "from a later release"
)

// Later makes of an event the same one as a release to come would tell it, whose messages have a field more each, and
// whose enums a value more each: it says LaterText in every message of it, and LaterNumber in every enum.
func Later(t testing.TB, e bus.Event) bus.Event {
	t.Helper()
	today, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(e.Type))
	if err != nil {
		t.Fatal(err)
	}
	file, err := protodesc.NewFile(withMore(protodesc.ToFileDescriptorProto(today.ParentFile())), protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(file.Messages().ByName(today.Name()))
	if err := proto.Unmarshal(e.Data, m); err != nil {
		t.Fatal(err)
	}
	fill(m)
	if e.Data, err = proto.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return e
}

// withMore adds to a file what a later release may add.
func withMore(file *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	for _, m := range file.MessageType {
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String("later"), JsonName: proto.String("later"), Number: proto.Int32(LaterNumber),
			Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
	}
	for _, enum := range file.EnumType {
		enum.Value = append(enum.Value, &descriptorpb.EnumValueDescriptorProto{
			Name: proto.String("LATER_" + enum.GetName()), Number: proto.Int32(LaterNumber),
		})
	}
	return file
}

// fill sets what was added, in m and in what is in it.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Number() == LaterNumber:
			m.Set(f, protoreflect.ValueOfString(LaterText))
		case f.Kind() == protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(LaterNumber))
		case f.Kind() == protoreflect.MessageKind && m.Has(f) && f.Message().ParentFile() == m.Descriptor().ParentFile():
			fill(m.Mutable(f).Message())
		}
	}
}
