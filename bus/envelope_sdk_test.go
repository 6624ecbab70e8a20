package bus_test

import (
	"bytes"
	"testing"
	"time"

	cesdk "github.com/cloudevents/sdk-go/binding/format/protobuf/v2"
	"github.com/cloudevents/sdk-go/binding/format/protobuf/v2/pb"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
)

// sdkSamples are the samples but one: the SDK writes a source that isn't ASCII otherwise than it read it.
func sdkSamples() map[string]bus.Event {
	all := samples()
	delete(all, "foreign source")
	return all
}

// The CloudEvents SDK for Go reads what we write, and finds it valid, as its receivers insist.
func TestCloudEventsSDKReadsOurEnvelope(t *testing.T) {
	for name, e := range sdkSamples() {
		var got ce.Event
		if err := cesdk.Protobuf.Unmarshal(e.AppendEnvelope(nil), &got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: the SDK finds it invalid: %v", name, err)
		}
		if got.ID() != e.ID || got.Source() != e.Source || got.Type() != e.Type || got.Subject() != e.Key ||
			!got.Time().Equal(e.Time) || !bytes.Equal(got.Data(), e.Data) {
			t.Errorf("%s: it reads\n%v", name, got)
		}
		if want := map[bool]string{true: "application/protobuf", false: e.DataType}[e.DataType == ""]; got.DataContentType() != want {
			t.Errorf("%s: datacontenttype %q, want %q", name, got.DataContentType(), want)
		}
		checkSDKExtensions(t, name, got, e)
	}
}

func checkSDKExtensions(t *testing.T, name string, got ce.Event, e bus.Event) {
	t.Helper()
	want := map[string]any{}
	for k, v := range e.Ext {
		if k != "dataschema" {
			want[k] = v
		}
	}
	if e.Version != 0 {
		want["version"] = decimal(e.Version)
	}
	if e.Seq != 0 {
		want["sequence"] = decimal(e.Seq)
	}
	if e.SeqLog != "" {
		want["sequencelog"] = e.SeqLog
	}
	have := got.Extensions()
	if have == nil {
		have = map[string]any{}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s: extensions wanted (-), read (+):\n%s", name, diff)
	}
	schema := e.Ext["dataschema"]
	if schema == "" && e.DataType == "" {
		schema = "https://type.googleapis.com/" + e.Type
	}
	if got.DataSchema() != schema {
		t.Errorf("%s: dataschema %q, want %q", name, got.DataSchema(), schema)
	}
}

// What the SDK has read and written again is still the same event to us.
func TestEnvelopeSurvivesTheCloudEventsSDK(t *testing.T) {
	for name, e := range sdkSamples() {
		var there ce.Event
		if err := cesdk.Protobuf.Unmarshal(e.AppendEnvelope(nil), &there); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, err := cesdk.Protobuf.Marshal(&there)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		back, err := bus.ParseEnvelope(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(e, back, equateEmpty); diff != "" {
			t.Errorf("%s: before (-), after (+):\n%s", name, diff)
		}
	}
}

// Events that the SDK makes arrive, with attributes of every kind.
func TestWeReadTheCloudEventsSDK(t *testing.T) {
	src := ce.New()
	src.SetID("id-1")
	src.SetSource("urn:elsewhere")
	src.SetType("com.example.thing")
	src.SetSubject("thing-1")
	src.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)))
	src.SetExtension("version", "12")
	src.SetExtension("flag", true)
	src.SetExtension("count", int32(-5))
	src.SetExtension("when", time.Unix(1, 500).UTC())
	src.SetExtension("raw", []byte{1, 2, 255})
	if err := src.SetData("application/json", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	b, err := cesdk.Protobuf.Marshal(&src)
	if err != nil {
		t.Fatal(err)
	}
	got, err := bus.ParseEnvelope(b)
	if err != nil {
		t.Fatal(err)
	}
	want := bus.Event{
		ID: "id-1", Source: "urn:elsewhere", Type: "com.example.thing", Key: "thing-1", Version: 12,
		Time: time.Date(2026, 1, 2, 2, 4, 5, 6, time.UTC), DataType: "application/json", Data: []byte(`{"a":1}`),
		Ext: map[string]string{"flag": "true", "count": "-5", "when": "1970-01-01T00:00:01.0000005Z", "raw": "AQL/"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func attr(v any) *pb.CloudEventAttributeValue {
	switch v := v.(type) {
	case string:
		return &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeString{CeString: v}}
	case *timestamppb.Timestamp:
		return &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeTimestamp{CeTimestamp: v}}
	case int32:
		return &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeInteger{CeInteger: v}}
	}
	return &pb.CloudEventAttributeValue{}
}

// foreign returns an event as another program could have written it.
func foreign(t *testing.T, change func(e *pb.CloudEvent)) []byte {
	t.Helper()
	e := &pb.CloudEvent{Id: "i", Source: "/s", SpecVersion: "1.0", Type: "t", Attributes: map[string]*pb.CloudEventAttributeValue{}}
	change(e)
	b, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestForeignEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(e *pb.CloudEvent)
		want   bus.Event // beside id, source and type
	}{
		"no data": {func(*pb.CloudEvent) {}, bus.Event{}},
		"binary data of no type": {
			func(e *pb.CloudEvent) { e.Data = &pb.CloudEvent_BinaryData{BinaryData: []byte{0, 1}} },
			bus.Event{Data: []byte{0, 1}, DataType: "application/octet-stream"},
		},
		"protobuf in binary data": {
			func(e *pb.CloudEvent) {
				e.Data = &pb.CloudEvent_BinaryData{BinaryData: []byte{8, 1}}
				e.Attributes["datacontenttype"] = attr("application/protobuf")
			},
			bus.Event{Data: []byte{8, 1}},
		},
		"text data": {
			func(e *pb.CloudEvent) {
				e.Data = &pb.CloudEvent_TextData{TextData: "hello"}
				e.Attributes["datacontenttype"] = attr("text/plain; charset=utf-8")
			},
			bus.Event{Data: []byte("hello"), DataType: "text/plain; charset=utf-8"},
		},
		"proto data of another type URL": {
			func(e *pb.CloudEvent) {
				e.Data = &pb.CloudEvent_ProtoData{ProtoData: &anypb.Any{TypeUrl: "example.com/other.T", Value: []byte{8, 1}}}
			},
			bus.Event{Data: []byte{8, 1}, Ext: map[string]string{"dataschema": "example.com/other.T"}},
		},
		"proto data named by Type": {
			func(e *pb.CloudEvent) {
				e.Data = &pb.CloudEvent_ProtoData{ProtoData: &anypb.Any{TypeUrl: "type.googleapis.com/t", Value: []byte{8, 1}}}
			},
			bus.Event{Data: []byte{8, 1}},
		},
		"time as a string": {
			func(e *pb.CloudEvent) { e.Attributes["time"] = attr("2026-01-02T03:04:05.5+01:00") },
			bus.Event{Time: time.Date(2026, 1, 2, 2, 4, 5, 5e8, time.UTC)},
		},
		"versions that are no numbers of ours": {
			func(e *pb.CloudEvent) {
				e.Attributes["version"] = attr("v7")
				e.Attributes["sequence"] = attr("007")
			},
			bus.Event{Ext: map[string]string{"version": "v7", "sequence": "007"}},
		},
		"a version as a CloudEvents Integer": {
			func(e *pb.CloudEvent) { e.Attributes["version"] = attr(int32(7)) },
			bus.Event{Version: 7},
		},
		"an empty schema": {
			func(e *pb.CloudEvent) { e.Attributes["dataschema"] = attr("") },
			bus.Event{},
		},
		"the schema of the type, as type URLs are written": {
			func(e *pb.CloudEvent) { e.Attributes["dataschema"] = attr("type.googleapis.com/t") },
			bus.Event{},
		},
		"the schema of the type, of data that isn't protobuf": {
			func(e *pb.CloudEvent) {
				e.Attributes["dataschema"] = attr("https://type.googleapis.com/t")
				e.Attributes["datacontenttype"] = attr("application/json")
			},
			bus.Event{DataType: "application/json", Ext: map[string]string{"dataschema": "https://type.googleapis.com/t"}},
		},
		"a subject that is a number": {
			func(e *pb.CloudEvent) { e.Attributes["subject"] = attr(int32(5)) },
			bus.Event{Key: "5"},
		},
		"an attribute without a value": {
			func(e *pb.CloudEvent) { e.Attributes["odd"] = attr(nil) },
			bus.Event{Ext: map[string]string{"odd": ""}},
		},
	} {
		got, err := bus.ParseEnvelope(foreign(t, tt.change))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tt.want.ID, tt.want.Source, tt.want.Type = "i", "/s", "t"
		if diff := cmp.Diff(tt.want, got, equateEmpty); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", name, diff)
		}
		again, err := bus.ParseEnvelope(got.AppendEnvelope(nil))
		if err != nil {
			t.Errorf("%s: forwarded: %v", name, err)
		}
		if diff := cmp.Diff(got, again, equateEmpty); diff != "" {
			t.Errorf("%s: read (-), forwarded (+):\n%s", name, diff)
		}
	}
}

func TestForeignEventsWithABrokenTimeAreRefused(t *testing.T) {
	for name, value := range map[string]any{
		"text":     "yesterday",
		"integer":  int32(5),
		"year 0":   &timestamppb.Timestamp{Seconds: -62135596801},
		"too late": &timestamppb.Timestamp{Seconds: 253402300800},
		"nanos":    &timestamppb.Timestamp{Nanos: 1e9},
		"nothing":  nil,
	} {
		b := foreign(t, func(e *pb.CloudEvent) { e.Attributes["time"] = attr(value) })
		if got, err := bus.ParseEnvelope(b); err == nil {
			t.Errorf("%s: it was read as %v", name, got.Time)
		}
	}
}

// Fields that a later CloudEvents may add, and ones with other wire types, are passed over.
func TestUnknownFieldsArePassedOver(t *testing.T) {
	e := valid()
	b := e.AppendEnvelope(nil)
	b = append(b, 0x78, 0x05)                              // field 15, varint
	b = append(b, 0x7a, 0x01, 'x')                         // field 15, bytes
	b = append(b, 0x7d, 1, 2, 3, 4)                        // field 15, fixed32
	b = append(b, 0x79, 1, 2, 3, 4, 5, 6, 7, 8)            // field 15, fixed64
	b = append(b, 0x7b, 0x08, 0x01, 0x7c)                  // field 15, group
	b = append(b, 0x08, 0x01)                              // id, as a varint
	b = append(b, 0x2a, 0x05, 0x0a, 0x01, 'n', 0x18, 0x07) // an attribute with a field too many and no value
	got, err := bus.ParseEnvelope(b)
	if err != nil {
		t.Fatal(err)
	}
	e.Ext = map[string]string{"n": ""}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
