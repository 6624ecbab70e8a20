package compat_test

import (
	"path"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	schemas "github.com/tidings-dev/tidings/proto"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

// released is the image of a release: its files, as they were then.
type released struct{ *protoregistry.Files }

// image reads the image of a release, such as "v0.1.0".
func image(t testing.TB, version string) released {
	t.Helper()
	raw, err := schemas.Released.ReadFile(path.Join("released", version+".binpb"))
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	return released{files}
}

// older is the release of before the first additions.
func older(t testing.TB) released { return image(t, "v0.1.0") }

// message makes an empty message, which knows the fields that it had then.
func (r released) message(t testing.TB, name protoreflect.FullName) *dynamicpb.Message {
	t.Helper()
	d, err := r.FindDescriptorByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
}

// get follows the names of fields into m: "user", "name".
func get(t testing.TB, m protoreflect.Message, names ...protoreflect.Name) protoreflect.Value {
	t.Helper()
	for i, name := range names {
		field := m.Descriptor().Fields().ByName(name)
		if field == nil {
			t.Fatalf("%s has no %s", m.Descriptor().FullName(), name)
		}
		value := m.Get(field)
		if i == len(names)-1 {
			return value
		}
		m = value.Message()
	}
	return protoreflect.Value{}
}

// set changes a field of m.
func set(t testing.TB, m protoreflect.Message, name protoreflect.Name, value any) {
	t.Helper()
	field := m.Descriptor().Fields().ByName(name)
	if field == nil {
		t.Fatalf("%s has no %s", m.Descriptor().FullName(), name)
	}
	m.Set(field, protoreflect.ValueOf(value))
}

// later is a field that no release has yet, as bytes of a message; today's program meets it as one of 0.1.0 meets today's.
func later(value string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 4711, protowire.BytesType), value)
}

// marshal encodes m.
func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
