package kafka

import (
	"bytes"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tidings-dev/tidings/bus"
)

var equateEmpty = cmpopts.EquateEmpty()

// full is an event with everything that an event can have.
func full() bus.Event {
	return bus.Event{
		ID: "id-1", Source: "/users", Type: "users.events.v1.UserCreated", Key: "ü 1", Version: 12, Seq: 7, SeqLog: "log",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Data: []byte{0x0a, 0x01, 'x'},
		Ext: map[string]string{"traceparent": "00-a-b-01", "dataschema": "https://example.com/1", "mine": "100%"},
	}
}

// sent is the record of e as a consumer has it: with memory of its own.
func sent(c *encoder, e bus.Event) *ck.Message {
	m := *c.encode(&e)
	m.Key, m.Value = append([]byte{}, m.Key...), append([]byte{}, m.Value...)
	m.Headers = append([]ck.Header{}, m.Headers...)
	for i := range m.Headers {
		m.Headers[i].Value = append([]byte{}, m.Headers[i].Value...)
	}
	return &m
}

func decoded(m *ck.Message) bus.Event {
	var e bus.Event
	decode(m, &e)
	return e
}

// headers makes headers of names and values in turns.
func headers(namesAndValues ...string) []ck.Header {
	var all []ck.Header
	for i := 0; i < len(namesAndValues); i += 2 {
		all = append(all, ck.Header{Key: namesAndValues[i], Value: []byte(namesAndValues[i+1])})
	}
	return all
}

// required are the headers that CloudEvents requires, and more.
func required(more ...string) []ck.Header {
	return headers(append([]string{"ce_id", "i", "ce_source", "/s", "ce_specversion", "1.0", "ce_type", "t"}, more...)...)
}

func TestBothModesBringBackTheSameEvent(t *testing.T) {
	bare := bus.Event{ID: "i", Source: "/s", Type: "t", Key: "k"}
	text := bus.Event{ID: "i", Source: "/s", Type: "t", Key: "k", DataType: "text/plain; charset=utf-8", Data: []byte("ü")}
	for _, mode := range []string{modeStructured, modeBinary} {
		c := newEncoder("topic", mode)
		var records []*ck.Message
		all := []bus.Event{full(), bare, text, full()}
		for _, e := range all { // one encoder for all: nothing of one event may be left in the next
			records = append(records, sent(c, e))
		}
		for i, e := range all {
			if diff := cmp.Diff(e, decoded(records[i]), equateEmpty); diff != "" {
				t.Errorf("%s: event %d: written (-), read (+):\n%s", mode, i, diff)
			}
		}
	}
}

// Whoever forwards or archives events as data sends these. In binary mode they would be read as the event within.
func TestAnEventInAnEventStaysTheOuterOne(t *testing.T) {
	inner := full()
	var all []bus.Event
	for _, media := range []string{
		bus.TypeEnvelope, bus.TypeEnvelope + "; charset=utf-8", "application/cloudevents+json", "Application/CloudEvents-Batch+json",
	} {
		all = append(all, full(), bus.Event{ID: "o", Source: "/archive", Type: "t", Key: "outer", DataType: media, Data: inner.AppendEnvelope(nil)})
	}
	for _, mode := range []string{modeStructured, modeBinary} {
		c := newEncoder("topic", mode)
		for i, e := range all {
			if diff := cmp.Diff(e, decoded(sent(c, e)), equateEmpty); diff != "" {
				t.Errorf("%s: event %d: written (-), read (+):\n%s", mode, i, diff)
			}
		}
	}
}

func TestARecordInBinaryModeByteByByte(t *testing.T) {
	m := sent(newEncoder("topic", modeBinary), full())
	want := headers("ce_specversion", "1.0", "ce_id", "id-1", "ce_source", "/users", "ce_type", "users.events.v1.UserCreated",
		"ce_subject", "ü 1", "ce_time", "2026-01-02T03:04:05.000000006Z", "content-type", "application/protobuf",
		"ce_version", "12", "ce_sequence", "7", "ce_sequencelog", "log",
		"ce_dataschema", "https://example.com/1", "ce_mine", "100%", "ce_traceparent", "00-a-b-01")
	if diff := cmp.Diff(want, m.Headers); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if string(m.Key) != "ü 1" || !bytes.Equal(m.Value, full().Data) {
		t.Errorf("key %q, value %q", m.Key, m.Value)
	}
}

// A null value would delete what a compacted topic holds of the key.
func TestNoDataIsNoTombstone(t *testing.T) {
	e := full()
	e.Data = nil
	if m := newEncoder("topic", modeBinary).encode(&e); m.Value == nil || len(m.Value) > 0 {
		t.Errorf("value %v, want an empty one", m.Value)
	}
}

func TestWhatOthersPublish(t *testing.T) {
	protobuf := full()
	envelope := protobuf.AppendEnvelope(nil)
	unnamed := bus.Event{ID: "i", Source: "/s", Type: "t"}
	for name, tt := range map[string]struct {
		m    ck.Message
		want bus.Event
	}{
		"no subject: the record's key": {
			ck.Message{Key: []byte("k"), Headers: required()}, bus.Event{Key: "k"}},
		"an empty subject: the record's key": {
			ck.Message{Key: []byte("k"), Headers: required("ce_subject", "")}, bus.Event{Key: "k"}},
		"no subject in structured mode either": {
			ck.Message{Key: []byte("k"), Value: unnamed.AppendEnvelope(nil), Headers: headers("content-type", bus.TypeEnvelope)},
			bus.Event{Key: "k"}},
		"no key: the subject": {
			ck.Message{Headers: required("ce_subject", "s")}, bus.Event{Key: "s"}},
		"key and subject differ: the subject": {
			ck.Message{Key: []byte("k"), Headers: required("ce_subject", "s", "ce_partitionkey", "k")},
			bus.Event{Key: "s", Ext: map[string]string{"partitionkey": "k"}}},
		"a key that is no text": {
			ck.Message{Key: []byte{0, 0, 0, 255}, Headers: required()}, bus.Event{}},
		"a key that is a number, with bytes that no subject may have": {
			ck.Message{Key: []byte{0, 0, 0, 65}, Headers: required()}, bus.Event{}},
		"a tombstone": {
			ck.Message{Key: []byte("k"), Value: nil, Headers: required("ce_subject", "k")}, bus.Event{Key: "k"}},
		"no content-type": {
			ck.Message{Value: []byte("d"), Headers: required()}, bus.Event{Data: []byte("d"), DataType: "application/octet-stream"}},
		"a media type as it is": {
			ck.Message{Value: []byte("{}"), Headers: required("content-type", "Application/JSON; charset=utf-8")},
			bus.Event{Data: []byte("{}"), DataType: "Application/JSON; charset=utf-8"}},
		"ce_datacontenttype where there is no content-type": {
			ck.Message{Value: []byte("{}"), Headers: required("ce_datacontenttype", "application/json")},
			bus.Event{Data: []byte("{}"), DataType: "application/json"}},
		"content-type counts, not ce_datacontenttype": {
			ck.Message{Value: []byte("{}"), Headers: required("ce_datacontenttype", "text/plain", "content-type", "application/json")},
			bus.Event{Data: []byte("{}"), DataType: "application/json"}},
		"names in any case": {
			ck.Message{Value: []byte("d"), Headers: headers("CE_ID", "i", "Ce_Source", "/s", "ce_SpecVersion", "1.0", "CE_type", "t",
				"Content-Type", "application/protobuf", "ce_Mine", "x")},
			bus.Event{Data: []byte("d"), Ext: map[string]string{"mine": "x"}}},
		"others' headers, and null ones": {
			ck.Message{Headers: append(required("traceparent", "00", "x", "\xff", "ce", "y", "", "z", "content-typ", "a"),
				ck.Header{Key: "ce_time"}, ck.Header{Key: "ce_mine"}, ck.Header{Key: "content-type"})},
			bus.Event{}},
		"twice with one value": {
			ck.Message{Headers: required("ce_id", "i", "CE_Mine", "x", "ce_mine", "x")}, bus.Event{Ext: map[string]string{"mine": "x"}}},
		"nothing is unescaped": {
			ck.Message{Headers: required("ce_subject", "a%20b%", "ce_mine", `"ü"`)},
			bus.Event{Key: "a%20b%", Ext: map[string]string{"mine": `"ü"`}}},
		"more attributes than most have": {
			ck.Message{Headers: required(strings.Split("ce_a,1,ce_b,1,ce_c,1,ce_d,1,ce_e,1,ce_f,1,ce_g,1,ce_h,1,ce_i,1,ce_j,1,ce_k,1,ce_l,1,ce_m,1", ",")...)},
			bus.Event{Ext: map[string]string{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "f": "1", "g": "1", "h": "1", "i": "1", "j": "1", "k": "1", "l": "1", "m": "1"}}},
	} {
		got := decoded(&tt.m)
		tt.want.ID, tt.want.Source, tt.want.Type = "i", "/s", "t"
		if diff := cmp.Diff(tt.want, got, equateEmpty); diff != "" || got.Err != nil {
			t.Errorf("%s: %v; want (-), got (+):\n%s", name, got.Err, diff)
		}
	}
	for _, kind := range []string{bus.TypeEnvelope, "Application/CloudEvents+Protobuf", bus.TypeEnvelope + "; charset=utf-8"} {
		// The binding lets a structured record have the headers of binary mode too; they are another's business.
		m := ck.Message{Key: []byte("k"), Value: envelope, Headers: required("Content-Type", kind)}
		if diff := cmp.Diff(protobuf, decoded(&m)); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", kind, diff)
		}
	}
}

func TestRecordsThatAreNoEventSayWhy(t *testing.T) {
	for name, tt := range map[string]struct {
		headers []ck.Header
		want    string
	}{
		"no headers":               {nil, "neither a content-type of CloudEvents nor a ce_specversion header"},
		"a media type alone":       {headers("content-type", "application/json"), "nor a ce_specversion header"},
		"no specversion":           {required()[:2], "nor a ce_specversion header"},
		"a null specversion":       {append(required()[:2], ck.Header{Key: "ce_specversion"}), "no specversion"},
		"another version":          {headers("ce_id", "i", "ce_source", "/s", "ce_type", "t", "ce_specversion", "0.3"), `specversion "0.3"; this program reads 1.0`},
		"no id":                    {required()[1:], "id, source and type must be set"},
		"a broken time":            {required("ce_time", "1767323045"), `time "1767323045" is not in RFC 3339`},
		"two ids":                  {required("CE_ID", "j"), `attribute id stands there twice, as "i" and as "j"`},
		"two content-types":        {required("content-type", "a/b", "Content-Type", "c/d"), "attribute datacontenttype stands there twice"},
		"an envelope behind JSON":  {required("content-type", "a/b", "content-type", bus.TypeEnvelope), "attribute datacontenttype stands there twice"},
		"bytes":                    {required("ce_mine", "\xff"), "not UTF-8"},
		"a control character":      {required("ce_mine", "a\x00"), "control characters"},
		"a name that is none":      {required("ce_my-ext", "x"), `attribute "my-ext"`},
		"no name":                  {required("ce_", "x"), `attribute ""`},
		"a name beyond ASCII":      {required("ce_\u212aey", "x"), "lower-case letters and digits"},
		"JSON format":              {headers("content-type", "application/cloudevents+json"), `content-type is "application/cloudevents+json"`},
		"JSON format with headers": {required("content-type", "application/cloudevents+json; charset=UTF-8"), `content-type is "application/cloudevents+json"; of CloudEvents' formats`},
		"a batch":                  {headers("content-type", "application/cloudevents-batch+json"), `content-type is "application/cloudevents-batch+json"`},
		"Avro, shouted":            {headers("content-type", "APPLICATION/CLOUDEVENTS+AVRO"), `content-type is "application/cloudevents+avro"`},
		"a broken media type":      {headers("content-type", "application/cloudevents+protobuf; ="), "can't be read"},
		"a broken envelope":        {headers("content-type", bus.TypeEnvelope), "not a CloudEvent"},
	} {
		m := ck.Message{Key: []byte("k"), Value: []byte("value"), Headers: tt.headers}
		got := decoded(&m)
		if got.Err == nil || !strings.Contains(got.Err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, got.Err, tt.want)
		}
		got.Err = nil
		if diff := cmp.Diff(bus.Event{Key: "k", Data: []byte("value")}, got); diff != "" {
			t.Errorf("%s: the record isn't kept as it came:\n%s", name, diff)
		}
	}
}

// wireSize is what a record takes in a batch: its parts and their lengths, each of 5 bytes at most, and what stands
// beside them (attributes, both deltas, the number of headers).
func wireSize(m *ck.Message) int {
	n := 1 + 10 + 5 + 5 + 5 + 5 + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += 5 + len(h.Key) + 5 + len(h.Value)
	}
	return n
}

// What Validate lets through the broker must take: Size counts the headers too.
func TestSizeBoundsTheRecordOfBothModes(t *testing.T) {
	long := full()
	long.Type, long.Key = strings.Repeat("t", 50_000), strings.Repeat("k", 50_000)
	long.Ext["long"] = strings.Repeat("l", 100_000)
	bare := bus.Event{ID: "i", Source: "/s", Type: "t", Key: "k", Ext: map[string]string{}}
	for i := range 2000 {
		bare.Ext["x"+strings.Repeat("y", i%60)+string(rune('a'+i%26))] = ""
	}
	for name, e := range map[string]bus.Event{"full": full(), "long": long, "many extensions": bare} {
		for _, mode := range []string{modeStructured, modeBinary} {
			if takes, size := wireSize(newEncoder("topic", mode).encode(&e)), e.Size(); takes > size {
				t.Errorf("%s, %s: Size is %d, and the record takes %d", name, mode, size, takes)
			}
		}
	}
}

// FuzzDecode holds the reading of headers to this, whatever is in them: it doesn't panic; what it refuses is kept as it
// came; and what it took is the same event after it was written and read again in either mode. Headers are given as
// names and values with newlines between.
func FuzzDecode(f *testing.F) {
	seed := func(list []ck.Header) {
		var all [][]byte
		for _, h := range list {
			all = append(all, []byte(h.Key), h.Value)
		}
		f.Add(bytes.Join(all, []byte("\n")), []byte("k"), []byte("d"))
	}
	seed(sent(newEncoder("topic", modeBinary), full()).Headers)
	seed(required())
	seed(required("CE_ID", "i", "Content-Type", "application/json", "ce_datacontenttype", "a/b", "ce_Mine", "x"))
	seed(required("ce_id", "j", "content-type", bus.TypeEnvelope))
	seed(headers("content-type", "application/cloudevents+json; charset=utf-8"))
	e := full()
	f.Add([]byte("content-type\n"+bus.TypeEnvelope), []byte("k"), e.AppendEnvelope(nil))
	f.Fuzz(func(t *testing.T, list, key, value []byte) {
		m := ck.Message{Key: key, Value: value}
		for parts := bytes.Split(list, []byte("\n")); len(parts) > 1; parts = parts[2:] {
			m.Headers = append(m.Headers, ck.Header{Key: string(parts[0]), Value: parts[1]})
		}
		got := decoded(&m)
		if got.Err != nil {
			if got.Key != string(key) || !bytes.Equal(got.Data, value) || got.ID != "" {
				t.Fatalf("the record isn't kept as it came: %+v", got)
			}
			return
		}
		for _, mode := range []string{modeStructured, modeBinary} {
			again := decoded(sent(newEncoder("topic", mode), got))
			if got.Validate() != nil && (again.Err != nil || mode == modeBinary && hasCapitals(got.Ext)) {
				continue // an envelope may hold what headers may not, or in one case only, and Publish refuses both
			}
			if diff := cmp.Diff(got, again, equateEmpty, cmpopts.EquateErrors()); diff != "" {
				t.Fatalf("%s: read (-), and read again (+):\n%s", mode, diff)
			}
		}
	})
}

func hasCapitals(ext map[string]string) bool {
	for name := range ext {
		if lower(name) != name {
			return true
		}
	}
	return false
}
