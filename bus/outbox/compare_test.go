package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// quick makes an outbox that looks at the log often.
func quick(t testing.TB, opts ...Option) *Outbox {
	t.Helper()
	o := newOutbox(t, openDB(t, newFile(t)), opts...)
	o.pace.compare, o.pace.look = 10*time.Millisecond, 20*time.Millisecond
	return o
}

// held is what a topic's log holds now, in order of partition and offset.
func inLog(t testing.TB, rec *bustest.Recorder) (events []bus.Event) {
	t.Helper()
	parts, err := rec.Partitions(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		at := make(map[int64]bus.Event) // what was cut off is on record too
		for _, e := range rec.Published(topic) {
			if e.At.Log == p.Log && e.At.Partition == p.Partition {
				at[e.At.Offset] = e
			}
		}
		for off := p.First; off < p.Next; off++ {
			events = append(events, at[off])
		}
	}
	return events
}

// whole waits until the log holds each key's versions up to the one wanted, and returns what it holds.
func whole(t testing.TB, rec *bustest.Recorder, want map[string]int) (events []bus.Event) {
	t.Helper()
	eventually(t, "a log that holds everything", func() bool {
		events = inLog(t, rec)
		have := make(map[string]bool)
		for _, e := range events {
			have[e.ID] = true
		}
		for key, n := range want {
			for v := 1; v <= n; v++ {
				if !have[fmt.Sprintf("%s-%d", key, v)] {
					return false
				}
			}
		}
		return true
	})
	return events
}

// ordered fails the test where a key's version comes for the first time before the one below it.
func ordered(t testing.TB, events []bus.Event) {
	t.Helper()
	last := make(map[string]uint64)
	for _, e := range events {
		if e.Version > last[e.Key]+1 {
			t.Errorf("key %s: version %d comes after %d", e.Key, e.Version, last[e.Key])
		}
		last[e.Key] = max(last[e.Key], e.Version)
	}
}

// writeAll commits versions from to of some keys, and adds them to want.
func writeAll(t testing.TB, o *Outbox, want map[string]int, from, to int) {
	t.Helper()
	for v := from; v <= to; v++ {
		var events []bus.Event
		for k := range 7 {
			key := fmt.Sprint("k", k)
			events = append(events, event(key, v))
			want[key] = v
		}
		add(t, o, events...)
	}
}

func TestTopicThatIsMadeAnewIsGivenWhatIsHeld(t *testing.T) {
	for _, test := range []struct {
		name           string
		down, new      bool // the relay is down meanwhile; there are new events when it looks
		looks, another bool // it looks from time to time; another relay goes on
	}{
		{name: "while the relay is idle", looks: true},
		{name: "while the relay is down", down: true},
		{name: "while the relay is down, and events were added", down: true, new: true},
		{name: "and only an acknowledgement tells", new: true},
		{name: "and another relay finds it", down: true, new: true, another: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, rec, want := quick(t), bustest.NewRecorder(), make(map[string]int)
			if !test.looks {
				o.pace.compare = time.Hour
			}
			stop := relaying(t, o, rec)
			writeAll(t, o, want, 1, 30)
			drained(t, o)
			if test.down {
				stop()
			}
			rec.DeleteTopic(topic)
			putForeign(rec, event("other", 1)) // makes it anew
			if test.new {
				writeAll(t, o, want, 31, 33)
			}
			if test.another {
				o = newOutbox(t, o.db)
			}
			if test.down {
				relaying(t, o, rec)
			}
			events := whole(t, rec, want)
			s := drained(t, o)
			if sent := 7 * want["k0"]; s.Sent != int64(sent) || s.Lacking != 0 {
				t.Errorf("%d sent, want %d; %d lacking", s.Sent, sent, s.Lacking)
			}
			if test.down { // what is new comes behind what is sent again
				ordered(t, events)
			}
			if test.looks && len(events) != 211 {
				t.Errorf("the log holds %d events", len(events))
			}
			if !strings.Contains(logged(o), "made anew") {
				t.Error("nobody says so")
			}
		})
	}
}

func TestLogThatLostItsEndIsGivenItAgain(t *testing.T) {
	for _, test := range []struct {
		name     string
		down     bool
		new      bool
		compares time.Duration
	}{
		{"while the relay is idle", false, false, 10 * time.Millisecond},
		{"while the relay is down", true, false, time.Hour},
		{"while the relay is down, and events were added", true, true, time.Hour},
		{"and an acknowledgement tells before it has grown", false, true, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, rec, want := quick(t), bustest.NewRecorder(), make(map[string]int)
			o.pace.compare = test.compares
			if !test.down && test.new {
				o.pace.slack = 0 // the acknowledgement alone must tell where the log was cut
			}
			stop := relaying(t, o, rec)
			writeAll(t, o, want, 1, 40)
			drained(t, o)
			if test.down {
				stop()
			}
			before := ends4(t, rec)
			for p, end := range before {
				rec.Shorten(topic, int32(p), end-end/3)
			}
			if test.new {
				writeAll(t, o, want, 41, 42+6) // fewer than were lost, or nobody could tell
			}
			if test.down {
				relaying(t, o, rec)
			}
			events := whole(t, rec, want)
			drained(t, o)
			if test.down || !test.new { // else what told of it stands in front
				ordered(t, events)
			}
			eventually(t, "logs as long as they were", func() bool {
				return !slices.ContainsFunc(slices.Collect(zip(before, ends4(t, rec))), func(p [2]int64) bool { return p[1] < p[0] })
			})
			if s := drained(t, o); s.Lacking != 0 || !strings.Contains(logged(o), "shorter than it was") {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// ends4 are the ends of the four partitions.
func ends4(t testing.TB, rec *bustest.Recorder) (ends []int64) {
	t.Helper()
	parts, err := rec.Partitions(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		ends = append(ends, p.Next)
	}
	return ends
}

func zip(a, b []int64) func(yield func([2]int64) bool) {
	return func(yield func([2]int64) bool) {
		for i := range a {
			if !yield([2]int64{a[i], b[i]}) {
				return
			}
		}
	}
}

// A reader that does not look while the log is short must still come by everything: its place is in the midst of what
// was sent again. The old log held repeats in front of that place, and the new one holds none.
func TestReaderThatNeverLookedMissesNothing(t *testing.T) {
	o, rec := quick(t), bustest.NewRecorder(bustest.WithPartitions(1))
	var lost atomic.Bool
	rec.FailPublish(func(string, bus.Event) error {
		if lost.Load() {
			return bustest.ErrStored
		}
		return nil
	})
	stop := relaying(t, o, rec)
	addEvents(t, o, 1, 5)
	published(t, rec, 5)
	lost.Store(true)
	addEvents(t, o, 6, 10)
	published(t, rec, 10) // of which nobody knows
	lost.Store(false)
	drained(t, o)
	stop()
	place := ends4(t, rec)[0] // the reader has everything so far
	rec.Shorten(topic, 0, 5)
	addEvents(t, o, 11, 12)
	relaying(t, o, rec)
	eventually(t, "the new events behind the reader's place", func() bool {
		var read []string
		for i, e := range inLog(t, rec) {
			if int64(i) >= place {
				read = append(read, e.ID)
			}
		}
		return slices.Contains(read, "a-11") && slices.Contains(read, "a-12")
	})
	eventually(t, "an end of that", func() bool { return count(t, o.db, `SELECT count(*) FROM tidings_outbox_log WHERE refill_to > 0`) == 0 })
	n := len(inLog(t, rec))
	ordered(t, inLog(t, rec))
	if int64(n) > 4*place {
		t.Errorf("the log has %d events", n)
	}
}

func TestWhatTheLogDroppedByAgeIsNotSentAgain(t *testing.T) {
	o, rec, want := quick(t), bustest.NewRecorder(), make(map[string]int)
	stop := relaying(t, o, rec)
	writeAll(t, o, want, 1, 30)
	drained(t, o)
	stop()
	for p, end := range ends4(t, rec) {
		rec.Truncate(topic, int32(p), end-3)
		rec.Shorten(topic, int32(p), end-1)
	}
	n := len(rec.Published(topic))
	relaying(t, o, rec)
	eventually(t, "the end of the log", func() bool { return len(rec.Published(topic)) >= n+4 })
	drained(t, o)
	if again := len(rec.Published(topic)) - n; again > 8 {
		t.Errorf("%d events were sent again, and 4 were lost", again)
	}
}

func TestTopicThatIsGoneIsWaitedFor(t *testing.T) {
	o, rec, want := quick(t), bustest.NewRecorder(), make(map[string]int)
	relaying(t, o, rec)
	writeAll(t, o, want, 1, 5)
	drained(t, o)
	in := &asking{Bus: rec}
	rec.DeleteTopic(topic)
	stop := relaying(t, newOutbox(t, o.db), in)
	stop()
	if s := status(t, o); s.Pending != 0 || s.Sent != 35 {
		t.Errorf("%+v", s)
	}
	putForeign(rec, event("other", 1))
	whole(t, rec, want)
}

// asking counts the questions, and answers them as it is told to.
type asking struct {
	bus.Bus
	n   atomic.Int64
	err atomic.Pointer[error]
}

func (a *asking) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	a.n.Add(1)
	if err := a.err.Load(); err != nil {
		return nil, *err
	}
	return a.Bus.(bus.Inspector).Partitions(ctx, topics...)
}

func TestBrokerThatDoesNotTellHoldsNothingUp(t *testing.T) {
	var c clock
	o, rec, want := quick(t, WithKeep(time.Hour)), bustest.NewRecorder(), make(map[string]int)
	o.now, o.pace.purgeEvery = c.now, 5*time.Millisecond
	stop := relaying(t, o, rec)
	writeAll(t, o, want, 1, 5)
	drained(t, o)
	stop()
	rec.DeleteTopic(topic)
	c.turn(2 * time.Hour)

	in, no := &asking{Bus: rec}, errors.New("not today")
	in.err.Store(&no)
	relaying(t, o, in)
	asked := in.n.Load()
	eventually(t, "some questions", func() bool { return in.n.Load() > asked+3 })
	if events, _ := rows(t, o); events != 35 {
		t.Errorf("%d events are held; nothing may be purged that a log may lack", events)
	}
	if text := logged(o); strings.Count(text, "can't be compared") != 1 {
		t.Errorf("logged %s", text)
	}
	putForeign(rec, event("other", 1))
	in.err.Store(nil)
	writeAll(t, o, want, 6, 6)
	whole(t, rec, want)
	eventually(t, "the purge of what was sent long ago", func() bool { return status(t, o).Pending == 0 })
}

func TestBusThatKeepsNoLogIsNotAsked(t *testing.T) {
	o := quick(t)
	no := fmt.Errorf("this backend keeps no log: %w", errors.ErrUnsupported)
	in := &asking{Bus: bustest.NewRecorder()}
	in.err.Store(&no)
	relaying(t, o, in)
	for v := 1; v < 10; v++ {
		add(t, o, event("a", v))
		drained(t, o)
	}
	if n := in.n.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

// putForeign stores an event that this outbox never sent; a topic that isn't there is made for it.
func putForeign(rec *bustest.Recorder, e bus.Event) { rec.PutRaw(topic, e.Key, e.AppendEnvelope(nil)) }
