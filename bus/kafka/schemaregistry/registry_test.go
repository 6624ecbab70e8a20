package schemaregistry

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	sr "github.com/confluentinc/confluent-kafka-go/v2/schemaregistry"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/serde"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/serde/protobuf"
	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// messages are of several types: the first of a file and others, of two packages, a nested one, and an empty one.
func messages() []proto.Message {
	return []proto.Message{
		&eventsv1.UserCreated{User: &eventsv1.User{Id: "1", Name: "Ada", Version: 1, DisplayName: proto.String("")}},
		&eventsv1.UserDeleted{Id: "1", Version: 2, DeleteTime: timestamppb.Now()},
		&eventsv2.UserUpdated{User: &eventsv2.User{Id: "2", Version: 3}},
		&errdetails.BadRequest_FieldViolation{Field: "name", Description: "is empty"},
		&errdetails.QuotaFailure_Violation{Subject: "s"},
		&eventsv1.UserDeleted{},
	}
}

func eventsOf(t *testing.T, all []proto.Message) (events []bus.Event) {
	for i, m := range all {
		events = append(events, event(t, "key", uint64(i+1), m))
	}
	return events
}

// Whatever the type, and wherever it stands in its file: Confluent's own deserializer finds the schema by the frame and
// the message in it, and a reader of ours finds the payload as it was, whether it knows of a registry or not.
func TestConfluentsDeserializerReadsWhatIsPublished(t *testing.T) {
	t.Parallel()
	broker, registry, topic := brokerURL(t), mock(t), unique(t, "topic")
	want := messages()
	publish(t, open(t, broker, "http://registry:8081", "", with(registry)), topic, eventsOf(t, want)...)
	d := deserializer(t, registry, want...)
	for i, r := range records(t, broker, topic, len(want)) {
		got, err := d.Deserialize(topic, r.Value)
		if err != nil {
			t.Fatalf("%T: %v", want[i], err)
		}
		if m := got.(proto.Message); !proto.Equal(m, want[i]) {
			t.Errorf("published %T %v, deserialized %T %v", want[i], want[i], m, m)
		}
	}
	for i, e := range read(t, plain(t, broker, ""), topic, len(want)) {
		data, _ := proto.Marshal(want[i])
		if e.Err != nil || !bytes.Equal(e.Data, data) || e.DataType != "" {
			t.Errorf("event %d: data %x (%q), want %x: %v", i, e.Data, e.DataType, data, e.Err)
		}
	}
}

// Serialized by Confluent's serializer and published as a CloudEvent by any client: its payload is the event's data.
func TestWhatConfluentsSerializerWritesIsRead(t *testing.T) {
	t.Parallel()
	broker, registry, topic := brokerURL(t), mock(t), unique(t, "topic")
	s := serializer(t, registry)
	cl, want := client(t, broker, kgo.AllowAutoTopicCreation()), messages()
	plain := plain(t, broker, "&mode=binary")
	publish(t, plain, topic, event(t, "key", 1, want[0])) // of before there was a registry
	for i, m := range want {
		value, err := s.Serialize(topic, m)
		if err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: topic, Key: []byte("key"), Value: value}
		typ := string(m.ProtoReflect().Descriptor().FullName())
		for _, h := range [][2]string{
			{"ce_specversion", "1.0"}, {"ce_id", string(rune('a' + i))}, {"ce_source", "/s"}, {"ce_type", typ}, {"content-type", "application/protobuf"},
		} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	want = append([]proto.Message{want[0]}, want...)
	for i, e := range read(t, plain, topic, len(want)) {
		got := want[i].ProtoReflect().New().Interface()
		if err := proto.Unmarshal(e.Data, got); e.Err != nil || err != nil || !proto.Equal(got, want[i]) {
			t.Errorf("record %d: serialized %v, read %v: %v, %v", i, want[i], got, e.Err, err)
		}
	}
}

// serializer is Confluent's, with the subjects of Confluent's clients for Go: the file's first message names them.
func serializer(t *testing.T, registry sr.Client) *protobuf.Serializer {
	t.Helper()
	s, err := protobuf.NewSerializer(registry, serde.ValueSerde, protobuf.NewSerializerConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ConfigureSubjectNameStrategy(serde.RecordNameStrategyType, nil, s.GetRecordName); err != nil {
		t.Fatal(err)
	}
	return s
}

// A program with Confluent's serializer and one of ours mean the same schema, so that the registry has one of it, and
// make the same bytes of a message.
func TestTheSameSchemaIsRegisteredAsByConfluentsSerializer(t *testing.T) {
	registry := mock(t)
	m := &eventsv1.UserCreated{User: &eventsv1.User{Id: "1"}}
	theirs, err := serializer(t, registry).Serialize("topic", m)
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistry(registry, &transport{}, kafka.RegistryConfig{Register: true})
	ours, err := r.Frame(t.Context(), "topic", "users.events.v1.UserCreated")
	if err != nil {
		t.Fatal(err)
	}
	data, _ := proto.Marshal(m)
	if ours := append(ours, data...); !bytes.Equal(ours, theirs) {
		t.Errorf("ours %x, theirs %x", ours, theirs)
	}
	if all, _ := registry.GetAllVersions("users.events.v1.UserCreated"); len(all) != 1 {
		t.Errorf("the subject has versions %v", all)
	}
}

// Every message that this program links, however deep in its file: its indexes lead to it, and the frame is the one
// that Confluent's code writes.
func TestIndexesLeadToTheMessage(t *testing.T) {
	n, deepest := 0, 0
	var check func(ms protoreflect.MessageDescriptors)
	check = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			m := ms.Get(i)
			way := indexes(m)
			at := m.ParentFile().Messages().Get(way[0])
			for _, i := range way[1:] {
				at = at.Messages().Get(i)
			}
			theirs, err := (&serde.SchemaID{SchemaType: schemaType, ID: 0x1020304, MessageIndexes: way}).IDToBytes()
			if ours := appendFrame(nil, 0x1020304, way); at != m || err != nil || !bytes.Equal(ours, theirs) {
				t.Errorf("%s: %v leads to %s; frame %x, Confluent's %x, %v", m.FullName(), way, at.FullName(), ours, theirs, err)
			}
			n, deepest = n+1, max(deepest, len(way))
			check(m.Messages())
		}
	}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		check(f.Messages())
		return true
	})
	if n < 100 || deepest < 2 {
		t.Errorf("only %d messages, at most %d deep", n, deepest)
	}
}

// imported is a file that imports one that no registry knows, which imports one that each does.
func imported(t *testing.T) *protoregistry.Files {
	t.Helper()
	message := func(name, field, typ string) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{Name: &name, Field: []*descriptorpb.FieldDescriptorProto{{
			Name: &field, JsonName: &field, Number: proto.Int32(1), TypeName: &typ,
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}}}
	}
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
		{
			Name: proto.String("test/base.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"),
			Dependency:  []string{"google/protobuf/timestamp.proto"},
			MessageType: []*descriptorpb.DescriptorProto{message("Base", "time", ".google.protobuf.Timestamp")},
		},
		{
			Name: proto.String("test/event.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"), Dependency: []string{"test/base.proto"},
			MessageType: []*descriptorpb.DescriptorProto{message("First", "base", ".test.Base"), message("Happened", "base", ".test.Base")},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What a file imports is registered before it, and referred to: who decodes needs it.
func TestImportsAreRegisteredAndReferredTo(t *testing.T) {
	registry := mock(t)
	checkImports(t, registry, newRegistry(registry, &transport{}, kafka.RegistryConfig{Register: true, ByTopic: true}))
}

// checkImports has r register a file with imports, looks for it by client, and has Confluent's deserializer read by it.
func checkImports(t *testing.T, client sr.Client, r *registry) {
	t.Helper()
	files, topic := imported(t), unique(t, "topic")
	r.files = files
	frame, err := r.Frame(t.Context(), topic, "test.Happened")
	if err != nil {
		t.Fatal(err)
	}
	found, err := client.GetLatestSchemaMetadata(topic + "-test.Happened")
	if err != nil {
		t.Fatal(err)
	}
	base, err := client.GetLatestSchemaMetadata("test/base.proto")
	if err != nil {
		t.Fatal(err)
	}
	want := []sr.Reference{{Name: "test/base.proto", Subject: "test/base.proto", Version: base.Version}}
	if diff := cmp.Diff(want, found.References); diff != "" || base.Version == 0 {
		t.Error(diff)
	}
	d, _ := files.FindDescriptorByName("test.Happened")
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	data := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0x0a, 0x02, 0x08, 0x05})
	if err := proto.Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
	got, err := deserializer(t, client, m).Deserialize(topic, append(frame, data...))
	if err != nil || !proto.Equal(got.(proto.Message), m) {
		t.Errorf("deserialized %v, %v; want %v", got, err, m)
	}
}

func TestSubjects(t *testing.T) {
	for _, c := range []struct {
		byTopic bool
		want    string
	}{{false, "users.events.v1.UserUpdated"}, {true, "orders-users.events.v1.UserUpdated"}} {
		registry := mock(t)
		r := newRegistry(registry, &transport{}, kafka.RegistryConfig{Register: true, ByTopic: c.byTopic})
		for range 2 { // the second time it is known
			if _, err := r.Frame(t.Context(), "orders", "users.events.v1.UserUpdated"); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := registry.GetAllSubjects(); !cmp.Equal(got, []string{c.want}) {
			t.Errorf("subjects %v, want %s", got, c.want)
		}
	}
}

func TestATypeThatIsNotLinkedIsAnErrorAtOnce(t *testing.T) {
	r := newRegistry(mock(t), &transport{}, kafka.RegistryConfig{Register: true})
	for _, typ := range []string{"test.Nobodys", "users.events.v1.User.name", "users.events.v1", "", "\xff", "com.example.happened/v1"} {
		_, err := r.Frame(t.Context(), "topic", typ)
		if !bus.IsPermanent(err) || !strings.Contains(err.Error(), "doesn't link its generated code") {
			t.Errorf("%q: %v", typ, err)
		}
	}
}

// Frame is bounded by its context while another call has its turn, too.
func TestWaitingForAnothersQuestionEndsWithTheContext(t *testing.T) {
	r := newRegistry(mock(t), &transport{}, kafka.RegistryConfig{Register: true})
	r.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Frame(ctx, "topic", "users.events.v1.UserCreated"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Who doesn't import this package links nothing of the registry: neither its client nor what that needs.
func TestTheBackendDoesNotLinkTheClient(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/tidings-dev/tidings/bus/kafka").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	all := strings.Fields(string(out))
	if len(all) < 100 {
		t.Fatalf("only %d packages: %s", len(all), out)
	}
	for _, p := range all {
		for _, unwanted := range []string{"/schemaregistry", "github.com/Azure/", "golang.org/x/oauth2", "github.com/jhump/", "github.com/golang/protobuf"} {
			if strings.Contains(p, unwanted) {
				t.Errorf("bus/kafka links %s", p)
			}
		}
	}
}
