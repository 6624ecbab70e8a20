package bus

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	createdV1 = "users.events.v1.UserCreated"
	createdV2 = "users.events.v2.UserCreated"
)

func TestNewTwinsNameOneAnotherBestFirst(t *testing.T) {
	events, err := NewTwins("/users", "ann", 3, &eventsv2.UserCreated{}, &eventsv1.UserCreated{})
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for i, want := range []string{createdV2, createdV1} {
		e := &events[i]
		if e.Type != want || e.Source != "/users" || e.Key != "ann" || e.Version != 3 || !e.Time.Equal(events[0].Time) || e.Validate() != nil {
			t.Errorf("event %d is %+v, %v", i, e, e.Validate())
		}
		if got := e.Ext["alternatives"]; got != createdV2+","+createdV1 {
			t.Errorf("event %d has the alternatives %q", i, got)
		}
		if got := e.Alternatives(); !slices.Equal(got, []string{createdV2, createdV1}) {
			t.Errorf("event %d: %v", i, got)
		}
		alone, err := NewEvent("/users", "ann", 3, []proto.Message{&eventsv2.UserCreated{}, &eventsv1.UserCreated{}}[i])
		if err != nil || e.ID != alone.ID {
			t.Errorf("event %d has the id %s, and %s alone: %v", i, e.ID, alone.ID, err)
		}
	}
	if events[0].ID == events[1].ID {
		t.Error("both have one id")
	}
	events[0].Ext["other"] = "x"
	if len(events[1].Ext) != 1 {
		t.Error("they share a map")
	}
}

func TestOneMessageHasNoTwin(t *testing.T) {
	events, err := NewTwins("/users", "ann", 1, &eventsv1.UserCreated{})
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	want, err := NewEvent("/users", "ann", 1, &eventsv1.UserCreated{})
	want.Time = events[0].Time
	if diff := cmp.Diff(want, events[0]); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got := events[0].Alternatives(); got != nil {
		t.Errorf("alternatives %v", got)
	}
}

func TestNewTwinsRefusesWhatCannotBeTwins(t *testing.T) {
	v1 := &eventsv1.UserCreated{}
	many := make([]proto.Message, maxAlternatives+1)
	bare, err := NewEvent("/users", "ann", 1, wrapperspb.Bytes(nil))
	if err != nil {
		t.Fatal(err)
	}
	large := wrapperspb.Bytes(make([]byte, MaxEventBytes-bare.Size()-40)) // room for its length, and for no extension
	if _, err := NewEvent("/users", "ann", 1, large); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		source   string
		version  uint64
		messages []proto.Message
		want     string
	}{
		"no version": {"/users", 0, []proto.Message{v1}, "the version is 0"},
		"none":       {"/users", 1, nil, "there are 0 messages"},
		"too many":   {"/users", 1, many, "there are 17 messages"},
		"nil":        {"/users", 1, []proto.Message{v1, nil}, "message 1 is nil"},
		"one twice":  {"/users", 1, []proto.Message{v1, v1}, "two messages are of type " + createdV1},
		"no source":  {"", 1, []proto.Message{v1}, "Source is empty"},
		"too large": {"/users", 1, []proto.Message{v1, large},
			ErrTooLarge.Error()}, // which the extension alone makes it
	} {
		t.Run(name, func(t *testing.T) {
			events, err := NewTwins(tt.source, "ann", tt.version, tt.messages...)
			if err == nil || events != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%d events, error %v; want one that says %q", len(events), err, tt.want)
			}
		})
	}
}

// Whoever may write to a topic may write anything there.
func TestAlternativesOfAnybodyAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxAlternativesSize)
	many := strings.Repeat("a,", 100_000)
	for name, tt := range map[string]struct {
		value string
		want  []string
	}{
		"nothing":                  {"", nil},
		"blanks":                   {" , ,,\u00a0, ", nil},
		"trimmed":                  {" a , b,", []string{"a", "b"}},
		"not its own type":         {createdV2, []string{createdV2}},
		"one twice":                {"a,a", []string{"a", "a"}},
		"thousands":                {many, slices.Repeat([]string{"a"}, maxAlternatives)},
		"a megabyte":               {strings.Repeat(long, 60), nil},
		"one that would be cut":    {"a," + long, []string{"a"}},
		"one that is long":         {long, []string{long}},
		"commas, and then a value": {strings.Repeat(",", maxAlternativesSize+1) + "a", nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := Event{Type: createdV1, Ext: map[string]string{"alternatives": tt.value}}
			begin := time.Now()
			if diff := cmp.Diff(tt.want, e.Alternatives()); diff != "" {
				t.Errorf("%.300s", diff)
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if got := (&Event{}).Alternatives(); got != nil {
		t.Errorf("an event without extensions has %v", got)
	}
}

// Both modes of CloudEvents carry it, for it is an extension like any other.
func TestAlternativesTravelInBothModes(t *testing.T) {
	events, err := NewTwins("/users", "ann", 1, &eventsv2.UserCreated{}, &eventsv1.UserCreated{})
	if err != nil {
		t.Fatal(err)
	}
	structured, err := ParseEnvelope(events[0].AppendEnvelope(nil))
	if diff := cmp.Diff(events[0].Alternatives(), structured.Alternatives()); err != nil || diff != "" {
		t.Errorf("structured mode: %v %s", err, diff)
	}
	attrs, _ := events[1].AppendAttributes(nil, nil)
	binary, err := ParseAttributes(attrs, events[1].Data)
	if diff := cmp.Diff(events[1].Alternatives(), binary.Alternatives()); err != nil || diff != "" {
		t.Errorf("binary mode: %v %s", err, diff)
	}
}

func BenchmarkAlternatives(b *testing.B) {
	e := Event{Ext: map[string]string{"alternatives": createdV2 + "," + createdV1}}
	b.ReportAllocs()
	for b.Loop() {
		e.Alternatives()
	}
}
