package bus_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/bus"
)

// samples are events of every shape that can be published.
func samples() map[string]bus.Event {
	all := make(map[string]bus.Event)
	add := func(name string, change func(e *bus.Event)) {
		e := valid()
		change(&e)
		all[name] = e
	}
	add("plain", func(*bus.Event) {})
	add("with a sequence", func(e *bus.Event) { e.Seq, e.SeqLog = 1<<64-1, "0a1b2c3d" })
	add("without a version", func(e *bus.Event) { e.Version = 0 })
	add("without a time", func(e *bus.Event) { e.Time = time.Time{} })
	add("before 1970", func(e *bus.Event) { e.Time = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC) })
	add("at 1970", func(e *bus.Event) { e.Time = time.Unix(0, 0).UTC() })
	add("at the end of time", func(e *bus.Event) { e.Time = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC) })
	add("without data", func(e *bus.Event) { e.Data = nil })
	add("JSON", func(e *bus.Event) { e.DataType, e.Data = "application/json", []byte(`{"a":1}`) })
	add("JSON without data", func(e *bus.Event) { e.DataType, e.Data = "application/json", nil })
	add("bytes", func(e *bus.Event) { e.DataType, e.Data = "application/octet-stream", []byte{0, 255} })
	add("extensions", func(e *bus.Event) { e.Ext = map[string]string{"traceparent": "00-a-b-01", "empty": "", "z": "ü"} })
	add("schema", func(e *bus.Event) { e.Ext = map[string]string{"dataschema": "https://example.com/schema/1"} })
	add("JSON schema", func(e *bus.Event) {
		e.DataType, e.Ext = "application/json", map[string]string{"dataschema": "https://example.com/schema/1"}
	})
	add("JSON schema named like the type", func(e *bus.Event) {
		e.DataType, e.Ext = "application/json", map[string]string{"dataschema": "https://type.googleapis.com/" + e.Type}
	})
	add("unicode", func(e *bus.Event) {
		e.ID, e.Source, e.Type, e.Key = "ä", "/o", "ü.ß", "🔑"
		e.DataType = "text/plain; charset=utf-8"
	})
	add("foreign source", func(e *bus.Event) { e.Source = "/ö" })
	add("long", func(e *bus.Event) { e.Data = bytes.Repeat([]byte("x"), 100_000); e.Key = strings.Repeat("k", 20_000) })
	return all
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for name, e := range samples() {
		if err := e.Validate(); err != nil {
			t.Errorf("%s: the sample is wrong: %v", name, err)
		}
		got, err := bus.ParseEnvelope(e.AppendEnvelope(nil))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(e, got, equateEmpty); diff != "" {
			t.Errorf("%s: written (-), read (+):\n%s", name, diff)
		}
	}
}

func TestEnvelopeIsAppendedAndAlwaysTheSame(t *testing.T) {
	for name, e := range samples() {
		first := e.AppendEnvelope(nil)
		again := e.AppendEnvelope([]byte("before"))
		if !bytes.Equal(again, append([]byte("before"), first...)) {
			t.Errorf("%s: the second time the bytes are others", name)
		}
	}
}

// The bytes of an event stand in logs for years. This is one, byte by byte.
func TestEnvelopeBytes(t *testing.T) {
	e := bus.Event{
		ID: "i", Source: "/s", Type: "t.T", Key: "k", Version: 3, Seq: 10, Time: time.Unix(1, 2).UTC(), Data: []byte("dd"),
		Ext: map[string]string{"x": "y"},
	}
	want := "0a0169" + "12022f73" + "1a03312e30" + "2203742e54" + // id, source, specversion, type
		"2a0e" + "0a07" + hex.EncodeToString([]byte("subject")) + "1203" + "1a016b" +
		"2a0e" + "0a04" + hex.EncodeToString([]byte("time")) + "1206" + "3a04" + "08011002" +
		"2a29" + "0a0f" + hex.EncodeToString([]byte("datacontenttype")) + "1216" + "1a14" + hex.EncodeToString([]byte("application/protobuf")) +
		"2a0e" + "0a07" + hex.EncodeToString([]byte("version")) + "1203" + "1a0133" +
		"2a10" + "0a08" + hex.EncodeToString([]byte("sequence")) + "1204" + "1a023130" +
		"2a2f" + "0a0a" + hex.EncodeToString([]byte("dataschema")) + "1221" + "2a1f" + hex.EncodeToString([]byte("https://type.googleapis.com/t.T")) +
		"2a08" + "0a0178" + "1203" + "1a0179" +
		"421d" + "0a17" + hex.EncodeToString([]byte("type.googleapis.com/t.T")) + "12026464"
	if got := hex.EncodeToString(e.AppendEnvelope(nil)); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestParsedDataSharesTheBytesItCameIn(t *testing.T) {
	e := valid()
	for _, dataType := range []string{"", "application/json"} {
		e.DataType = dataType
		b := e.AppendEnvelope(nil)
		copied := bytes.Clone(b)
		got, err := bus.ParseEnvelope(b)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(b, e.Data)
		if !bytes.Equal(got.Data, e.Data) || &got.Data[0] != &b[at] {
			t.Errorf("%q: the data was copied", dataType)
		}
		if !bytes.Equal(b, copied) {
			t.Errorf("%q: the bytes were changed", dataType)
		}
	}
}

// Fields of a message that a program doesn't know survive it: data is passed on as it came.
func TestDataIsNeverReencoded(t *testing.T) {
	e := valid()
	e.Data = []byte{0x9a, 0x06, 0x01, 'x', 0x0a, 0x80, 0x00} // an unknown field, and a length that isn't canonical
	for range 3 {
		got, err := bus.ParseEnvelope(e.AppendEnvelope(nil))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Data, e.Data) {
			t.Fatalf("data %x became %x", e.Data, got.Data)
		}
		e = got
	}
}

func TestSizeBoundsWhatAnEventTakes(t *testing.T) {
	events := samples()
	schema := valid()
	schema.Ext = map[string]string{"dataschema": strings.Repeat("s", 5000)}
	events["long schema"] = schema
	typ := valid()
	typ.Type = strings.Repeat("t", 70_000)
	events["long type"] = typ
	for name, e := range events {
		takes := len(e.AppendEnvelope(nil)) + len(e.Key)
		if size := e.Size(); size < takes || size > takes+1000+len(e.Key)+len(e.Type)*3 {
			t.Errorf("%s: Size is %d, and it takes %d", name, size, takes)
		}
	}
}

func TestParseRefusesWhatIsNoEvent(t *testing.T) {
	e := valid()
	good := e.AppendEnvelope(nil)
	without := func(change func(e *bus.Event)) []byte {
		e := valid()
		change(&e)
		return e.AppendEnvelope(nil)
	}
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":          {nil, "no specversion"},
		"JSON":             {[]byte(`{"specversion":"1.0"}`), ""},
		"text":             {[]byte("hello"), ""},
		"a message":        {[]byte("\x0a\x03abc"), "no specversion"},
		"no id":            {without(func(e *bus.Event) { e.ID = "" }), "id, source and type must be set"},
		"no source":        {without(func(e *bus.Event) { e.Source = "" }), "id, source and type must be set"},
		"no type":          {without(func(e *bus.Event) { e.Type = "" }), "id, source and type must be set"},
		"cut short":        {good[:len(good)-1], "cut short"},
		"other version":    {bytes.Replace(good, []byte("\x1a\x031.0"), []byte("\x1a\x030.3"), 1), `specversion "0.3"`},
		"not UTF-8":        {without(func(e *bus.Event) { e.Key = "\xff" }), "not UTF-8"},
		"name not UTF-8":   {without(func(e *bus.Event) { e.Ext = map[string]string{"\xff": ""} }), "not UTF-8"},
		"time out of time": {without(func(e *bus.Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), "years 1 to 9999"},
	} {
		got, err := bus.ParseEnvelope(tt.b)
		if !errors.Is(err, bus.ErrNotEvent) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want ErrNotEvent with %q", name, err, tt.want)
		}
		if diff := cmp.Diff(bus.Event{}, got); diff != "" {
			t.Errorf("%s: something was returned beside the error:\n%s", name, diff)
		}
	}
}

func TestParseNeverPanicsOnAnyPrefix(t *testing.T) {
	for name, e := range samples() {
		b := e.AppendEnvelope(nil)
		for i := range min(len(b), 2000) {
			if _, err := bus.ParseEnvelope(b[:i]); err != nil && !errors.Is(err, bus.ErrNotEvent) {
				t.Fatalf("%s: the first %d bytes: %v", name, i, err)
			}
		}
	}
}
