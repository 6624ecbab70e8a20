package inbox

import (
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// own takes the test's own source alone.
func own(c *Config) { c.Sources = []string{source} }

func from(e bus.Event, source string) bus.Event {
	e.Source = source
	return e
}

// An event that has a user's type and key, and a version to come, but is somebody else's: it changes nothing, leaves
// nothing, is counted once, and stands in nobody's way.
func TestEventsOfOtherSourcesArePassedOver(t *testing.T) {
	for _, gaps := range []Gaps{Newest, Every} {
		in, l := newInbox(t, 1, own, func(c *Config) { c.Gaps = gaps })
		tooHigh := from(created(t, "a", maxVersion+1, ""), "/elsewhere")
		loose := from(created(t, "a", 0, "loose"), "/elsewhere")
		l.put(0, created(t, "a", 1, "A"), from(updated(t, "a", 2, "forged"), "/elsewhere"), tooHigh, loose,
			from(created(t, "b", 1, "forged"), strings.Repeat("s", 1<<16)), from(deleted(t, "a", 3), "/users/"), updated(t, "a", 2, "AA"))
		l.play(in, cut{0, 0, l.end(0)})
		l.play(in, cut{0, 0, l.end(0)}) // again: below the position
		wantApplied(t, in, "a:1 A", "a:2 AA")
		wantStatus(t, in, Status{Keys: 1, Versions: 2, Ignored: 5})
		if n := count(t, in, `SELECT COUNT(*) FROM tidings_inbox_source`); n != 1 {
			t.Errorf("%d sources have a number, want the own one only", n)
		}
	}
}

// What is ignored for its source is no reason for the next release to say that a rebuild is due.
func TestAReleaseSaysNothingOfOtherSources(t *testing.T) {
	in, l := newInbox(t, 1, own)
	l.put(0, from(created(t, "a", 1, ""), "/elsewhere"))
	l.play(in, cut{0, 0, 1})
	var out logs
	cfg := in.cfg
	cfg.Logger = out.logger()
	mustNew(t, cfg, recordAll()...)
	if out.has("rebuild") {
		t.Errorf("it logged %s", out.String())
	}
}

func TestARecordThatIsNoEventIsParkedWhateverTheSources(t *testing.T) {
	in, l := newInbox(t, 1, own)
	l.put(0, bus.Event{Key: "a", Data: []byte("x"), Err: bus.ErrNotEvent}, created(t, "a", 1, "A"))
	l.play(in, cut{0, 0, 2})
	wantApplied(t, in, "a:1 A")
	wantStatus(t, in, Status{Keys: 1, Versions: 1, Parked: 1, Dead: 1})
}

// On a bus without a log: nobody waits for what others have numbered, or counts it as missed.
func TestNumbersOfOtherSourcesAreNotFollowed(t *testing.T) {
	in, _ := newInbox(t, 0, own)
	foreign := from(numbered(created(t, "a", 1, ""), "y", 7), "/elsewhere")
	hear(t, in, numbered(created(t, "a", 1, "A"), "x", 1), foreign)
	beat := bus.Heartbeat{Topic: topic, Source: "/elsewhere", SeqLog: "y", Seq: 1000}
	if err := in.handle(t.Context(), bus.Delivery{Heartbeats: []bus.Heartbeat{beat}}); err != nil {
		t.Fatal(err)
	}
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 1})
	if s := status(t, in); s.Ignored != 1 || s.Keys != 1 || s.Missed != 0 {
		t.Errorf("status is %+v", s)
	}
}

func TestAnEmptySourceIsRefused(t *testing.T) {
	cfg := config(t, newDB(t))
	cfg.Sources = []string{source, ""}
	if _, err := New(cfg, recordAll()...); err == nil || !strings.Contains(err.Error(), "Sources[1] is empty") {
		t.Errorf("New answers %v", err)
	}
}
