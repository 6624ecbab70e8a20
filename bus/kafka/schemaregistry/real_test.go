package schemaregistry

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	sr "github.com/confluentinc/confluent-kafka-go/v2/schemaregistry"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// pemOf is the certificate of a server.
func pemOf(h *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
}

// realRegistry is the address of a real registry, and a client of its own. No gate runs one: there is none that could
// be had everywhere.
func realRegistry(t *testing.T) (address string, client sr.Client) {
	t.Helper()
	address = os.Getenv("TIDINGS_TEST_SCHEMA_REGISTRY")
	if address == "" {
		t.Skip("TIDINGS_TEST_SCHEMA_REGISTRY is not set: it names a registry with Confluent's API, such as http://host:8081")
	}
	client, err := sr.NewClient(sr.NewConfig(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Config().HTTPClient.CloseIdleConnections)
	return address, client
}

// All that is told of the mock, and of a server that answers like a registry, holds on a real one: tools find schema
// and message by what was published, and schemas that are there are found without registering.
func TestARealRegistry(t *testing.T) {
	address, client := realRegistry(t)
	broker, topic := brokerURL(t), unique(t, "topic")
	want := messages()
	publish(t, open(t, broker, address, "&schema_registry.subject=topic_record", New), topic, eventsOf(t, want)...)
	publish(t, open(t, broker, address, "&schema_registry.subject=topic_record&schema_registry.register=false", New), topic, eventsOf(t, want)...)
	d := deserializer(t, client, want...)
	for i, r := range records(t, broker, topic, 2*len(want)) {
		m := want[i%len(want)]
		got, err := d.Deserialize(topic, r.Value)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if got := got.(proto.Message); !proto.Equal(got, m) {
			t.Errorf("published %T %v, deserialized %T %v", m, m, got, got)
		}
	}
	never := unique(t, "never")
	err := open(t, broker, address, "&schema_registry.subject=topic_record&schema_registry.register=false", New).Publish(t.Context(), never, created(t))
	if !bus.IsPermanent(err) || !strings.Contains(err.Error(), "register it first") {
		t.Errorf("a subject that isn't there: %v", err)
	}
	r := asking(t, kafka.RegistryConfig{URLs: []string{address}, Register: true, ByTopic: true})
	checkImports(t, client, r.(*registry))
}

// A real registry compares, and what it says is told.
func TestARealRegistryRefusesWhatDoesNotFit(t *testing.T) {
	address, client := realRegistry(t)
	subject := unique(t, "topic")
	if _, err := client.UpdateCompatibility(subject+"-test.Happened", sr.Full); err != nil {
		t.Fatal(err)
	}
	frame := func(kind descriptorpb.FieldDescriptorProto_Type) error {
		r := asking(t, kafka.RegistryConfig{URLs: []string{address}, Register: true, ByTopic: true}).(*registry)
		r.files = changed(t, kind)
		_, err := r.Frame(t.Context(), subject, "test.Happened")
		return err
	}
	if err := frame(descriptorpb.FieldDescriptorProto_TYPE_STRING); err != nil {
		t.Fatal(err)
	}
	err := frame(descriptorpb.FieldDescriptorProto_TYPE_FIXED64)
	if !bus.IsPermanent(err) || !strings.Contains(err.Error(), "doesn't fit what subject") {
		t.Errorf("a string that became a number: %v", err)
	}
	t.Log(err)
}

// changed is a file whose message has a field of a kind.
func changed(t *testing.T, kind descriptorpb.FieldDescriptorProto_Type) *protoregistry.Files {
	t.Helper()
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("test/changed.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Happened"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: proto.String("what"), JsonName: proto.String("what"), Number: proto.Int32(1), Type: kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
