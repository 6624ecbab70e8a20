package bus_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/bus"
)

// attributesOf are the attributes of e, and its data as a record's value has it.
func attributesOf(e bus.Event) ([]bus.Attribute, []byte) {
	attrs, _ := e.AppendAttributes(nil, nil)
	return attrs, append([]byte{}, e.Data...)
}

func TestAttributesRoundTrip(t *testing.T) {
	for name, e := range samples() {
		got, err := bus.ParseAttributes(attributesOf(e))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(e, got, equateEmpty); diff != "" {
			t.Errorf("%s: written (-), read (+):\n%s", name, diff)
		}
	}
}

// The same event comes out of both modes, in whichever order it goes through them.
func TestBothModesCarryTheSameEvent(t *testing.T) {
	for name, e := range samples() {
		for range 2 {
			there, err := bus.ParseAttributes(attributesOf(e))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			back, err := bus.ParseEnvelope(there.AppendEnvelope(nil))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(e, back, equateEmpty); diff != "" {
				t.Errorf("%s: before (-), after (+):\n%s", name, diff)
			}
			e = back
		}
	}
}

func TestAttributesAreInCanonicalForm(t *testing.T) {
	e := bus.Event{
		ID: "i", Source: "/s%20ü", Type: "t.T", Key: "k", Version: 3, Seq: 1<<64 - 1, SeqLog: "l", Data: []byte("dd"),
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.FixedZone("", 3600)),
		Ext:  map[string]string{"y": "", "x": "ü\"%", "dataschema": "https://example.com/1"},
	}
	want := "specversion=1.0 id=i source=/s%20ü type=t.T subject=k time=2026-01-02T02:04:05.006Z " +
		"datacontenttype=application/protobuf version=3 sequence=18446744073709551615 sequencelog=l " +
		"dataschema=https://example.com/1 x=ü\"% y="
	if got := shown(e.AppendAttributes(nil, nil)); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	bare := bus.Event{ID: "i", Source: "/s", Type: "t", DataType: "text/plain", Ext: map[string]string{"dataschema": ""}}
	if got, want := shown(bare.AppendAttributes(nil, nil)), "specversion=1.0 id=i source=/s type=t datacontenttype=text/plain"; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func shown(attrs []bus.Attribute, _ []byte) string {
	var all []string
	for _, a := range attrs {
		all = append(all, a.Name+"="+string(a.Value))
	}
	return strings.Join(all, " ")
}

// Values stay what they are when the memory behind them has to grow, and none reaches into the next.
func TestAttributesKeepTheirMemoryApart(t *testing.T) {
	e := valid()
	e.Ext = map[string]string{"long": strings.Repeat("l", 90)}
	want, _ := e.AppendAttributes(nil, nil)
	for room := range 300 {
		got, mem := e.AppendAttributes(make([]bus.Attribute, 0, 1), append(make([]byte, 0, room), "before"...))
		if !bytes.HasPrefix(mem, []byte("before")) {
			t.Fatalf("room for %d: what was in the memory is gone: %q", room, mem[:6])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("room for %d: want (-), got (+):\n%s", room, diff)
		}
		for _, a := range got {
			if cap(a.Value) != len(a.Value) {
				t.Fatalf("room for %d: appending to %s overwrites what follows it", room, a.Name)
			}
		}
	}
}

// What a protocol may add for each attribute is said by AppendAttributes: 16 bytes.
func TestSizeBoundsAnEventInBinaryModeToo(t *testing.T) {
	events := samples()
	long := valid()
	long.Type, long.Source, long.Seq, long.SeqLog = strings.Repeat("t", 70_000), strings.Repeat("s", 9000), 1<<64-1, "0123456789"
	long.Time = time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)
	long.Ext = map[string]string{"dataschema": "https://example.com/" + strings.Repeat("x", 9000)}
	events["everything is long"] = long
	many := valid()
	many.Ext = map[string]string{}
	for i := range 3000 {
		many.Ext["x"+decimal(uint64(i))] = ""
	}
	events["many extensions"] = many
	for name, e := range events {
		takes := len(e.Key) + len(e.Data)
		attrs, _ := e.AppendAttributes(nil, nil)
		for _, a := range attrs {
			takes += len(a.Name) + len(a.Value) + 16
		}
		if size := e.Size(); size < takes {
			t.Errorf("%s: Size is %d, and it takes %d", name, size, takes)
		}
	}
}

// attrs makes attributes of names and values in turns, after those that are required.
func attrs(namesAndValues ...string) []bus.Attribute {
	all := []bus.Attribute{{"id", []byte("i")}, {"source", []byte("/s")}, {"specversion", []byte("1.0")}, {"type", []byte("t")}}
	for pair := range slices.Chunk(namesAndValues, 2) {
		all = append(all, bus.Attribute{Name: pair[0], Value: []byte(pair[1])})
	}
	return all
}

func TestForeignAttributes(t *testing.T) {
	at := time.Date(2026, 1, 2, 2, 4, 5, 5e8, time.UTC)
	for name, tt := range map[string]struct {
		attrs []bus.Attribute
		data  []byte
		want  bus.Event // beside id, source and type
	}{
		"nothing more":             {attrs(), nil, bus.Event{}},
		"data of no type":          {attrs(), []byte{0, 1}, bus.Event{Data: []byte{0, 1}, DataType: "application/octet-stream"}},
		"empty data of no type":    {attrs(), []byte{}, bus.Event{DataType: "application/octet-stream"}},
		"a type without data":      {attrs("datacontenttype", "text/plain"), nil, bus.Event{DataType: "text/plain"}},
		"protobuf":                 {attrs("datacontenttype", "application/protobuf"), []byte{8, 1}, bus.Event{Data: []byte{8, 1}}},
		"time with an offset":      {attrs("time", "2026-01-02T03:04:05.5+01:00"), nil, bus.Event{Time: at}},
		"time in small letters":    {attrs("time", "2026-01-02t02:04:05.50z"), nil, bus.Event{Time: at}},
		"a version":                {attrs("version", "12", "sequence", "3", "sequencelog", "l"), nil, bus.Event{Version: 12, Seq: 3, SeqLog: "l"}},
		"no numbers of ours":       {attrs("version", "v7", "sequence", "007"), nil, bus.Event{Ext: map[string]string{"version": "v7", "sequence": "007"}}},
		"a number that is too big": {attrs("version", "18446744073709551616"), nil, bus.Event{Ext: map[string]string{"version": "18446744073709551616"}}},
		"an empty version":         {attrs("version", ""), nil, bus.Event{Ext: map[string]string{"version": ""}}},
		"an empty subject":         {attrs("subject", ""), nil, bus.Event{}},
		"an empty schema":          {attrs("dataschema", ""), nil, bus.Event{}},
		"a schema": {attrs("dataschema", "https://example.com/1", "datacontenttype", "application/json"), []byte("{}"),
			bus.Event{DataType: "application/json", Data: []byte("{}"), Ext: map[string]string{"dataschema": "https://example.com/1"}}},
		"the schema of the type": {attrs("dataschema", "type.googleapis.com/t", "datacontenttype", "application/protobuf"), []byte{8, 1},
			bus.Event{Data: []byte{8, 1}}},
		"percent signs stay": {attrs("subject", "a%20b", "partitionkey", "%41"), nil,
			bus.Event{Key: "a%20b", Ext: map[string]string{"partitionkey": "%41"}}},
		"the same twice": {attrs("subject", "k", "subject", "k", "x", "", "x", "", "version", "1", "version", "1", "time", "2026-01-02T02:04:05.5Z", "id", "i"), nil,
			bus.Event{Key: "k", Version: 1, Time: at, Ext: map[string]string{"x": ""}}},
		"a null value": {append(attrs(), bus.Attribute{Name: "x"}), nil, bus.Event{Ext: map[string]string{"x": ""}}},
	} {
		got, err := bus.ParseAttributes(tt.attrs, tt.data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tt.want.ID, tt.want.Source, tt.want.Type = "i", "/s", "t"
		if diff := cmp.Diff(tt.want, got, equateEmpty); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", name, diff)
		}
	}
}

func TestAttributesThatAreNoEventAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		attrs []bus.Attribute
		want  string
	}{
		"nothing":                 {nil, "no specversion"},
		"no id":                   {attrs()[1:], `id, source and type must be set; they are "", "/s", "t"`},
		"no source":               {append(attrs()[2:], attrs()[0]), "id, source and type must be set"},
		"no type":                 {attrs()[:3], "id, source and type must be set"},
		"an empty id":             {append(attrs()[1:], bus.Attribute{Name: "id"}), "id, source and type must be set"},
		"another version":         {append(append(attrs()[:2], attrs()[3]), bus.Attribute{Name: "specversion", Value: []byte("0.3")}), `specversion "0.3"`},
		"two ids":                 {attrs("id", "j"), `attribute id stands there twice, as "i" and as "j"`},
		"two extensions":          {attrs("x", "", "x", "1"), `attribute x stands there twice, as "" and as "1"`},
		"two versions, one empty": {attrs("version", "", "version", "1"), "stands there twice"},
		"two subjects, one null":  {append(attrs(), bus.Attribute{Name: "subject"}, bus.Attribute{Name: "subject", Value: []byte("k")}), "stands there twice"},
		"no name":                 {attrs("", "x"), "a name is 1 to 64 lower-case letters and digits"},
		"upper case":              {attrs("Id", "x"), `attribute "Id": a name is`},
		"a dash":                  {attrs("my-ext", "x"), `attribute "my-ext": a name is`},
		"a name beyond ASCII":     {attrs("ä", "x"), "a name is"},
		"a long name":             {attrs(strings.Repeat("n", 65), "x"), "a name is"},
		"data":                    {attrs("data", "x"), "and not data"},
		"not UTF-8":               {attrs("subject", "\xff"), `attribute "subject" has bytes that are not UTF-8, or control characters: "\xff"`},
		"a control character":     {attrs("x", "a\nb"), "control characters"},
		"NUL":                     {attrs("subject", "a\x00"), "control characters"},
		"a later control":         {attrs("x", "ü\u0085"), "control characters"},
		"yesterday":               {attrs("time", "yesterday"), `time "yesterday" is not in RFC 3339`},
		"an empty time":           {attrs("time", ""), "is not in RFC 3339"},
		"before time":             {attrs("time", "0001-01-01T00:00:00+01:00"), "years 1 to 9999"},
		"after time":              {attrs("time", "9999-12-31T23:59:59-01:00"), "years 1 to 9999"},
	} {
		got, err := bus.ParseAttributes(tt.attrs, []byte("d"))
		if !errors.Is(err, bus.ErrNotEvent) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want ErrNotEvent with %q", name, err, tt.want)
		}
		if diff := cmp.Diff(bus.Event{}, got); diff != "" {
			t.Errorf("%s: something was returned beside the error:\n%s", name, diff)
		}
	}
}

// A record may be full of headers, which no limit of Kafka's keeps out.
func TestAnyNumberOfAttributesIsRead(t *testing.T) {
	many := attrs()
	for i := range 20_000 {
		many = append(many, bus.Attribute{Name: "x" + decimal(uint64(i%10_000)), Value: []byte("v")})
	}
	e, err := bus.ParseAttributes(many, nil)
	if err != nil || len(e.Ext) != 10_000 {
		t.Fatalf("%d extensions, %v", len(e.Ext), err)
	}
}

func TestParsedAttributesShareTheirDataAndNothingElse(t *testing.T) {
	e := valid()
	e.Ext = map[string]string{"x": "y"}
	data := []byte("data")
	all, mem := e.AppendAttributes(nil, nil)
	got, err := bus.ParseAttributes(all, data)
	if err != nil {
		t.Fatal(err)
	}
	clear(mem) // as an encoder that goes on to the next event does
	e.Data = data
	if diff := cmp.Diff(e, got); diff != "" || &got.Data[0] != &data[0] {
		t.Errorf("written (-), read and overwritten (+):\n%s", diff)
	}
}

// Each byte that CloudEvents forbids in a string is found wherever it stands, in either mode, and no other.
func TestEachForbiddenByteIsFound(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			key := []byte(strings.Repeat("~", 20))
			key[at] = byte(c)
			e := bus.Event{ID: "1", Source: "/s", Type: "t.T", Key: string(key), Version: 1}
			forbidden := c < 0x20 || c >= 0x7f
			if _, err := bus.ParseEnvelope(e.AppendEnvelope(nil)); errors.Is(err, bus.ErrNotEvent) != forbidden {
				t.Fatalf("byte %#x at %d, structured: %v", c, at, err)
			}
			if _, err := bus.ParseAttributes(attributesOf(e)); errors.Is(err, bus.ErrNotEvent) != forbidden {
				t.Fatalf("byte %#x at %d, binary: %v", c, at, err)
			}
		}
	}
}
