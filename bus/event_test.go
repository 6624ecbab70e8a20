package bus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidings-dev/tidings/bus"
)

// valid is an event that Validate has nothing to say about.
func valid() bus.Event {
	return bus.Event{
		ID: "0197f0c2-6a00-7000-8000-000000000001", Source: "/users", Type: "users.events.v1.UserCreated",
		Key: "0197f0c2-6a00-7000-8000-00000000000a", Version: 1, Time: time.Date(2026, 7, 1, 12, 30, 0, 123456789, time.UTC),
		Data: []byte("\x0a\x03abc"),
	}
}

// These ids are what marks in consumers' databases stand for. They must never change: a consumer would take
// what it has done for something new.
func TestDerivedIDsNeverChange(t *testing.T) {
	for _, tt := range []struct {
		source, key string
		version     uint64
		message     proto.Message
		want        string
	}{
		{"/users", "0197f0c2-6a00-7000-8000-00000000000a", 1, &wrapperspb.StringValue{}, "3d8653c9-aef2-5504-ab92-63f72464c633"},
		{"/users", "0197f0c2-6a00-7000-8000-00000000000a", 2, &wrapperspb.StringValue{}, "e6d98636-d86f-5b60-a377-fd18518e6f39"},
		{"/users", "0197f0c2-6a00-7000-8000-00000000000a", 1, &wrapperspb.BytesValue{}, "f6398205-cfbb-50a1-bb15-5816ebd8277e"},
		{"/orders", "0197f0c2-6a00-7000-8000-00000000000a", 1, &wrapperspb.StringValue{}, "35cd4c8d-ac09-59f6-9410-bcf06a542181"},
		{"/orders", "ключ", 18446744073709551615, &wrapperspb.StringValue{}, "d962e692-6b25-5f9b-8f14-7e712ae236b5"},
	} {
		e, err := bus.NewEvent(tt.source, tt.key, tt.version, tt.message)
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != tt.want {
			t.Errorf("%s of %s %s version %d has id %s, want %s", e.Type, tt.source, tt.key, tt.version, e.ID, tt.want)
		}
	}
}

func TestDerivedIDsDependOnTheFactAndNotOnItsData(t *testing.T) {
	newID := func(source, key string, v uint64, m proto.Message) string {
		e, err := bus.NewEvent(source, key, v, m)
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	id := newID("/a", "k1", 1, wrapperspb.String("x"))
	if again := newID("/a", "k1", 1, wrapperspb.String("y")); again != id {
		t.Errorf("the same fact has ids %s and %s", id, again)
	}
	others := []string{
		newID("/ak", "1", 1, wrapperspb.String("x")),
		newID("/a", "k1", 11, wrapperspb.String("x")),
		newID("/a", "k11", 1, wrapperspb.String("x")),
		newID("/a", "k1", 1, wrapperspb.Bytes(nil)),
		newID("/b", "k1", 1, wrapperspb.String("x")),
	}
	for i, other := range others {
		if other == id {
			t.Errorf("other fact %d has the same id", i)
		}
	}
}

func TestNewEventFillsInWhatTheMessageSays(t *testing.T) {
	before := time.Now()
	e, err := bus.NewEvent("/users", "k", 7, wrapperspb.String("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Type != "google.protobuf.StringValue" || e.Key != "k" || e.Source != "/users" || e.Version != 7 || e.DataType != "" {
		t.Errorf("got %+v", e)
	}
	if e.Time.Before(before.Round(0)) || e.Time.After(time.Now()) || e.Time.Location() != time.UTC {
		t.Errorf("its time is %v", e.Time)
	}
	m, err := bus.Decode[*wrapperspb.StringValue](e)
	if err != nil || m.GetValue() != "hello" {
		t.Errorf("Decode gave %v, %v", m, err)
	}
}

func TestEventsWithoutAVersionHaveRandomIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		e, err := bus.NewEvent("/users", "k", 0, wrapperspb.String("x"))
		if err != nil {
			t.Fatal(err)
		}
		id, err := uuid.Parse(e.ID)
		if err != nil || id.Version() != 7 || seen[e.ID] {
			t.Fatalf("id %s: %v", e.ID, err)
		}
		seen[e.ID] = true
	}
}

func TestNewEventRefusesWhatCannotBePublished(t *testing.T) {
	for name, tt := range map[string]struct {
		source, key string
		message     proto.Message
		want        string
	}{
		"no source":  {"", "k", wrapperspb.String("x"), "Source is empty"},
		"no key":     {"/a", "", wrapperspb.String("x"), "Key is empty"},
		"not UTF-8":  {"/a", "k", wrapperspb.String("\xff"), "google.protobuf.StringValue"},
		"large":      {"/a", "k", wrapperspb.Bytes(make([]byte, bus.MaxEventBytes)), "too large"},
		"control":    {"/a", "k\n", wrapperspb.String("x"), "Key"},
		"every flaw": {"", "\x00", wrapperspb.Bytes(make([]byte, bus.MaxEventBytes)), "Source is empty\nKey"},
	} {
		_, err := bus.NewEvent(tt.source, tt.key, 1, tt.message)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	good := valid()
	if err := good.Validate(); err != nil {
		t.Errorf("a valid event: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(e *bus.Event)
		want   []string
	}{
		"empty":      {func(e *bus.Event) { *e = bus.Event{} }, []string{"ID is empty", "Source is empty", "Type is empty", "Key is empty"}},
		"bytes":      {func(e *bus.Event) { e.Key, e.DataType = "\xff", "a\x00" }, []string{`Key "\xff"`, `DataType "a\x00"`}},
		"controls":   {func(e *bus.Event) { e.ID, e.Source, e.Type = "\x1f", "\x7f", "\u009f" }, []string{"ID ", "Source ", "Type "}},
		"names":      {func(e *bus.Event) { e.Ext = map[string]string{"": "", "A": "", "a_b": "", "ü": ""} }, []string{`""`, `"A"`, `"a_b"`, `"ü"`}},
		"long name":  {func(e *bus.Event) { e.Ext = map[string]string{strings.Repeat("a", 65): ""} }, []string{`"aaaa`}},
		"reserved":   {func(e *bus.Event) { e.Ext = map[string]string{"version": "1", "subject": "x", "data": ""} }, []string{`"version"`, `"subject"`, `"data"`}},
		"ext value":  {func(e *bus.Event) { e.Ext = map[string]string{"a": "\n"} }, []string{`Ext "a"`}},
		"year 10000": {func(e *bus.Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, []string{"Time is in the year 10000"}},
		"year 0":     {func(e *bus.Event) { e.Time = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) }, []string{"Time is in the year 0"}},
		"size":       {func(e *bus.Event) { e.Data = make([]byte, bus.MaxEventBytes) }, []string{"too large: 1000", "of at most 1000000"}},
		"unreadable": {func(e *bus.Event) { e.Err = errors.New("cut short") }, []string{"could not be read as an event: cut short"}},
	} {
		e := valid()
		tt.change(&e)
		err := e.Validate()
		if err == nil {
			t.Errorf("%s: no fault was found", name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nlacks %q", name, err, want)
			}
		}
	}
}

func TestValidateTakesWhatIsOddButAllowed(t *testing.T) {
	for name, change := range map[string]func(e *bus.Event){
		"unicode":       func(e *bus.Event) { e.Key, e.Source = "鍵 🔑", "/ü" },
		"no time":       func(e *bus.Event) { e.Time = time.Time{} },
		"no data":       func(e *bus.Event) { e.Data = nil },
		"replacement":   func(e *bus.Event) { e.Key = "\ufffd" },
		"no-break":      func(e *bus.Event) { e.Key = "\u00a0" },
		"extension":     func(e *bus.Event) { e.Ext = map[string]string{"traceparent": "00-1-2-01", "x9": ""} },
		"schema":        func(e *bus.Event) { e.Ext = map[string]string{"dataschema": "https://example.com/s"} },
		"largest there": func(e *bus.Event) { e.Data = make([]byte, bus.MaxEventBytes-e.Size()+len(e.Data)) },
	} {
		e := valid()
		change(&e)
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooLargeIsASentinel(t *testing.T) {
	e := valid()
	e.Data = make([]byte, bus.MaxEventBytes)
	if err := e.Validate(); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("Validate: %v, want ErrTooLarge", err)
	}
}

func TestDecodeNamesBothTypes(t *testing.T) {
	e, err := bus.NewEvent("/a", "k", 1, wrapperspb.String("x"))
	if err != nil {
		t.Fatal(err)
	}
	other, broken, unread := e, e, e
	other.DataType = "application/json"
	broken.Data = []byte{0x0a, 0xff}
	unread.Err = errors.New("no CloudEvent")
	_, err1 := bus.Decode[*wrapperspb.BytesValue](e)
	_, err2 := bus.Decode[*wrapperspb.StringValue](other)
	_, err3 := bus.Decode[*wrapperspb.StringValue](broken)
	_, err4 := bus.Decode[*wrapperspb.StringValue](unread)
	for _, tt := range []struct {
		err  error
		want []string
	}{
		{err1, []string{e.ID, "google.protobuf.StringValue", "google.protobuf.BytesValue"}},
		{err2, []string{e.ID, "application/json", "google.protobuf.StringValue"}},
		{err3, []string{e.ID, "google.protobuf.StringValue can't be read as google.protobuf.StringValue"}},
		{err4, []string{"no CloudEvent", "google.protobuf.StringValue"}},
	} {
		if !bus.IsPermanent(tt.err) {
			t.Errorf("%v is not permanent", tt.err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(tt.err.Error(), want) {
				t.Errorf("%v\nlacks %q", tt.err, want)
			}
		}
	}
}

func TestDecodeTakesTheMediaTypeSpelledOut(t *testing.T) {
	e, err := bus.NewEvent("/a", "k", 1, wrapperspb.String("x"))
	if err != nil {
		t.Fatal(err)
	}
	e.DataType = bus.TypeProtobuf
	if m, err := bus.Decode[*wrapperspb.StringValue](e); err != nil || m.GetValue() != "x" {
		t.Errorf("Decode gave %v, %v", m, err)
	}
}
