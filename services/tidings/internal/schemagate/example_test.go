package schemagate

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// odd is a package of events with one of everything that .proto files can have.
const odd = `
name: "odd/events/v1/events.proto" package: "odd.events.v1" syntax: "proto3"
dependency: "google/protobuf/timestamp.proto" dependency: "google/protobuf/duration.proto" dependency: "google/protobuf/field_mask.proto"
message_type {
  name: "Happened"
  field { name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "part" number: 2 type: TYPE_MESSAGE type_name: ".odd.events.v1.Part" label: LABEL_OPTIONAL }
  field { name: "parts" number: 3 type: TYPE_MESSAGE type_name: ".odd.events.v1.Part" label: LABEL_REPEATED }
  field { name: "names" number: 4 type: TYPE_STRING label: LABEL_REPEATED }
  field { name: "by_name" number: 5 type: TYPE_MESSAGE type_name: ".odd.events.v1.Happened.ByNameEntry" label: LABEL_REPEATED }
  field { name: "count_of" number: 6 type: TYPE_MESSAGE type_name: ".odd.events.v1.Happened.CountOfEntry" label: LABEL_REPEATED }
  field { name: "again" number: 7 type: TYPE_MESSAGE type_name: ".odd.events.v1.Happened" label: LABEL_OPTIONAL }
  nested_type {
    name: "ByNameEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".odd.events.v1.Part" label: LABEL_OPTIONAL }
  }
  nested_type {
    name: "CountOfEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_UINT64 label: LABEL_OPTIONAL }
  }
}
message_type {
  name: "Part"
  field { name: "kind" number: 1 type: TYPE_ENUM type_name: ".odd.events.v1.Kind" label: LABEL_OPTIONAL }
  field { name: "text" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "other_kind" number: 3 type: TYPE_ENUM type_name: ".odd.events.v1.Kind" label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "raw" number: 4 type: TYPE_BYTES label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "maybe" number: 5 type: TYPE_BOOL label: LABEL_OPTIONAL oneof_index: 1 proto3_optional: true }
  field { name: "f" number: 6 type: TYPE_FLOAT label: LABEL_OPTIONAL }
  field { name: "d" number: 7 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
  field { name: "i32" number: 8 type: TYPE_SINT32 label: LABEL_OPTIONAL }
  field { name: "u32" number: 9 type: TYPE_FIXED32 label: LABEL_OPTIONAL }
  field { name: "i64" number: 10 type: TYPE_SFIXED64 label: LABEL_OPTIONAL }
  field { name: "version" number: 11 type: TYPE_UINT64 label: LABEL_OPTIONAL }
  field { name: "at" number: 12 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL }
  field { name: "took" number: 13 type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" label: LABEL_OPTIONAL }
  field { name: "mask" number: 14 type: TYPE_MESSAGE type_name: ".google.protobuf.FieldMask" label: LABEL_OPTIONAL }
  oneof_decl { name: "what" } oneof_decl { name: "_maybe" }
}
message_type { name: "Nothing" }
enum_type {
  name: "Kind"
  options { allow_alias: true }
  value { name: "KIND_UNSPECIFIED" number: 0 } value { name: "KIND_ONE" number: 1 } value { name: "KIND_FIRST" number: 1 }
  value { name: "KIND_TWO" number: 2 } value { name: "KIND_MINUS" number: -1 }
}
`

func oddSchema(t *testing.T) *schema {
	t.Helper()
	file := &descriptorpb.FileDescriptorProto{}
	if err := prototext.Unmarshal([]byte(odd), file); err != nil {
		t.Fatal(err)
	}
	image, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
		protodesc.ToFileDescriptorProto(durationpb.File_google_protobuf_duration_proto),
		protodesc.ToFileDescriptorProto(fieldmaskpb.File_google_protobuf_field_mask_proto), file,
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseSchema(image)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEventTypesAreTheMessagesThatNoOtherHoldsAPartOf(t *testing.T) {
	var names []string
	for _, m := range oddSchema(t).eventTypes() {
		names = append(names, string(m.Name()))
	}
	if want := []string{"Happened", "Nothing"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	for name, want := range map[string]bool{
		"users.events.v1": true, "events.v2": true, "users.events.v1beta1": true, "users.v1": false, "users.myevents.v1": false,
		"users.events": false, "users.events.v1.inner": false, "google.protobuf": false,
	} {
		if eventPackage.MatchString(name) != want {
			t.Errorf("%s is a package of events: %t", name, !want)
		}
	}
}

// Together the examples say everything, each says as much as one can, and they are always the same.
func TestExamplesSayAllThatATypeCan(t *testing.T) {
	s := oddSchema(t)
	d := dynamicpb.NewMessageType(s.message("odd.events.v1.Happened"))
	key := func(i int) string { return exampleKey("odd.events.v1.Happened", string(rune('a'+i))) }
	all, again := examples(d, key, 7), examples(d, key, 7)
	covers := map[string]bool{}
	for i, m := range all {
		note(covers, m, "")
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		b2, err := proto.MarshalOptions{Deterministic: true}.Marshal(again[i].Interface())
		if err != nil || !bytes.Equal(b, b2) {
			t.Errorf("example %d is another one each time, %v", i, err)
		}
		if found := unknowns(m, ""); len(found) > 0 {
			t.Errorf("example %d has unknown fields at %v", i, found)
		}
	}
	for _, n := range needs(d.Descriptor()) {
		if !covers[n.path] {
			t.Errorf("no example says %s", n.path)
		}
	}
	for _, path := range []string{
		"part.kind=KIND_TWO", "part.kind=KIND_MINUS", "parts.other_kind=KIND_ONE", "by_name.raw", "count_of", "again", "part.maybe", "part.at", "part.mask",
	} {
		if !slices.ContainsFunc(needs(d.Descriptor()), func(n need) bool { return n.path == path }) {
			t.Errorf("%s need not be said", path)
		}
	}
	for n := range covers {
		if strings.HasPrefix(n, "again.") || strings.Contains(n, "KIND_FIRST") || strings.Contains(n, "KIND_UNSPECIFIED") {
			t.Errorf("%s is said", n)
		}
	}
	// The most that is needed: three members of the oneof, of which one has three values.
	if len(all) != 5 {
		t.Errorf("%d examples", len(all))
	}
	if key, v := said(all[0]); v != 7 || key != exampleKey("odd.events.v1.Happened", "a") {
		t.Errorf("the first is version %d of %s", v, key)
	}
	if n := len(examples(dynamicpb.NewMessageType(s.message("odd.events.v1.Nothing")), key, 1)); n != 1 {
		t.Errorf("a message without fields has %d examples", n)
	}
}

func TestUnknownFieldsAreFoundWhereverTheyAre(t *testing.T) {
	d := dynamicpb.NewMessageType(oddSchema(t).message("odd.events.v1.Happened"))
	m := examples(d, func(int) string { return "k" }, 1)[0]
	fields := d.Descriptor().Fields()
	extra := []byte{0xf8, 0x07, 1}
	m.Get(fields.ByName("part")).Message().SetUnknown(extra)
	m.Get(fields.ByName("parts")).List().Get(0).Message().SetUnknown(extra)
	got := unknowns(m, "")
	slices.Sort(got)
	if want := []string{".part", ".parts"}; !slices.Equal(got, want) {
		t.Errorf("found at %q, want %q", got, want)
	}
}

func TestKeysOfExamplesAreUUIDsOfVersion7(t *testing.T) {
	a, b := exampleKey("t", "a"), exampleKey("t", "b")
	if a == b || a != exampleKey("t", "a") || len(a) != 36 || a[14] != '7' || !strings.HasPrefix(a, "019ca945-0a00-") {
		t.Errorf("%s and %s", a, b)
	}
}

func TestVersionsFollowEachOther(t *testing.T) {
	released := []version{{0, 1, 0}, {0, 9, 0}, {0, 10, 0}}
	for text, want := range map[string]bool{
		"0.10.1": true, "v0.11.0": true, "1.0.0": true, "0.10.0": false, "0.9.0": false, "0.9.7": false, "0.0.1": false,
	} {
		v, err := parseVersion(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkNext(v, released); (err == nil) != want {
			t.Errorf("%s after 0.10.0: %v", text, err)
		}
	}
	for _, text := range []string{"", "1", "1.2", "1.2.3.4", "1.02.3", "1.2.3-rc1", "a.b.c", "1.2.99999999999", "../0.1.0"} {
		if v, err := parseVersion(text); err == nil {
			t.Errorf("%q is %v", text, v)
		}
	}
	if err := checkNext(version{0, 0, 1}, nil); err != nil {
		t.Error(err)
	}
}

func TestGoldenFilesAreReadAsTheyAreWritten(t *testing.T) {
	g := Golden{Attributes: map[string]string{"id": `a "quoted" id`, "traceparent": "00-1", "specversion": "1.0"}, Data: []byte(`{"a":[1,2],"b":"ü"}`)}
	text, err := g.formatJSON()
	if err != nil {
		t.Fatal(err)
	}
	var back Golden
	if err := back.parseJSON(text); err != nil {
		t.Fatal(err)
	}
	again, err := back.formatJSON()
	if err != nil || !bytes.Equal(again, text) || !strings.HasPrefix(string(text), "{\n  \"specversion\"") {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
	if err := back.parseJSON([]byte(`{"id":7}`)); err == nil {
		t.Error("an attribute that is no string is taken")
	}

	headers, err := parseHeaders([]byte("ce_id: \"a \\\"b\\\" \\u00fc\"\ncontent-type: \"x/y: z\"\n"))
	if err != nil || len(headers) != 2 || string(headers[0].Value) != `a "b" ü` || string(headers[1].Value) != "x/y: z" {
		t.Errorf("headers %q, %v", headers, err)
	}
	if back, err := parseHeaders(formatHeaders(headers)); err != nil || string(back[0].Value) != string(headers[0].Value) {
		t.Errorf("headers %q, %v", back, err)
	}
	for _, bad := range []string{"ce_id: x\n", "ce_id\n", `ce_id:"x"` + "\n"} {
		if _, err := parseHeaders([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
