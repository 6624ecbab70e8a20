package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

var errCause = errors.New("the disk is full")

func TestPublishErrorTellsTheFirstThatFailed(t *testing.T) {
	err := error(&bus.PublishError{Topic: "t", Failed: map[int]error{7: errors.New("later"), 3: fmt.Errorf("no: %w", errCause)}})
	if want := `bus: publish to "t": 2 not acknowledged, first is event 3: no: the disk is full`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !errors.Is(err, errCause) {
		t.Error("it doesn't wrap the first event's error")
	}
	var none bus.PublishError
	if none.Error() == "" || none.Unwrap() != nil {
		t.Error("an empty one can't be told")
	}
}

func TestGuaranteeErrorNamesWhatIsMissing(t *testing.T) {
	err := &bus.GuaranteeError{Group: "directory", Missing: bus.Guarantees{Durable: true, OrderedByKey: true}}
	if want := `bus: group "directory" requires what this bus lacks: durable, ordered by key`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// Marks are found through whatever is wrapped around them, and through one another.
func TestOutcomesOfAHandler(t *testing.T) {
	at := bus.Position{Topic: "t", Partition: 2, Offset: 5}
	err := fmt.Errorf("a: %w", bus.AtEvent(4, fmt.Errorf("b: %w", bus.RetryAfter(time.Second, bus.Permanent(errCause)))))
	if !bus.IsPermanent(err) || !errors.Is(err, errCause) {
		t.Errorf("%v: permanent %v", err, bus.IsPermanent(err))
	}
	if d, ok := bus.RetryDelay(err); !ok || d != time.Second {
		t.Errorf("RetryDelay: %v, %v", d, ok)
	}
	if i, ok := bus.FaultyEvent(err); !ok || i != 4 {
		t.Errorf("FaultyEvent: %v, %v", i, ok)
	}
	if err.Error() != "a: b: the disk is full" {
		t.Errorf("the marks stand in the text: %v", err)
	}
	joined := errors.Join(errCause, fmt.Errorf("c: %w", bus.Reread(at)))
	if got, ok := bus.RereadPositions(joined); !ok || len(got) != 1 || got[0] != at {
		t.Errorf("RereadPositions: %v, %v", got, ok)
	}
}

func TestOutcomesOfNothingAreNothing(t *testing.T) {
	if bus.Permanent(nil) != nil || bus.RetryAfter(time.Second, nil) != nil || bus.AtEvent(1, nil) != nil || bus.Reread() != nil {
		t.Error("a mark on no error is an error")
	}
	if bus.IsPermanent(nil) || bus.IsPermanent(errCause) {
		t.Error("an error without a mark is permanent")
	}
	if _, ok := bus.RetryDelay(errCause); ok {
		t.Error("an error without a mark has a delay")
	}
	if _, ok := bus.FaultyEvent(errCause); ok {
		t.Error("an error without a mark names an event")
	}
	if _, ok := bus.RereadPositions(errCause); ok {
		t.Error("an error without a mark names positions")
	}
}

func TestGuarantees(t *testing.T) {
	all := bus.All()
	for _, tt := range []struct {
		have, want, missing bus.Guarantees
		text                string
	}{
		{all, all, bus.Guarantees{}, "none"},
		{bus.Guarantees{}, all, all, "durable, replayable, groups, ordered by key"},
		{bus.Guarantees{}, bus.Guarantees{}, bus.Guarantees{}, "none"},
		{bus.Guarantees{Durable: true, Groups: true}, all, bus.Guarantees{Replayable: true, OrderedByKey: true}, "replayable, ordered by key"},
		{bus.Guarantees{OrderedByKey: true}, bus.Guarantees{Groups: true}, bus.Guarantees{Groups: true}, "groups"},
	} {
		got := tt.have.Missing(tt.want)
		if got != tt.missing || got.String() != tt.text {
			t.Errorf("%v lacks of %v: %v, want %v", tt.have, tt.want, got, tt.text)
		}
	}
}

func TestStart(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	for _, tt := range []struct {
		start  bus.Start
		latest bool
		since  bool
		text   string
	}{
		{bus.Start{}, false, false, "earliest"},
		{bus.Earliest(), false, false, "earliest"},
		{bus.Latest(), true, false, "latest"},
		{bus.Since(at), false, true, "2026-01-02T03:04:05.0000006Z"},
	} {
		got, since := tt.start.Time()
		if tt.start.IsLatest() != tt.latest || since != tt.since || since && !got.Equal(at) || tt.start.String() != tt.text {
			t.Errorf("%v: latest %v, since %v %v", tt.start, tt.start.IsLatest(), got, since)
		}
	}
}
