package inbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// firstLog is what an owner calls its first numbering.
const firstLog = bus.SeqLogFirst + "x"

// From an older release on, and on a bus with a log, versions are what tells of losses; numbers add to it that a key
// begins at version 1.
func TestAKeyBeginsAtVersionOneWhereItsSourceWasFollowedFromTheStart(t *testing.T) {
	third := numbered(updated(t, "a", 3, "A3"), firstLog, 7)
	fourth := numbered(updated(t, "a", 4, "A4"), firstLog, 8)
	t.Run("a projection counts", func(t *testing.T) {
		in, _ := newInbox(t, 0)
		hear(t, in, beat(t, firstLog, 0))
		hear(t, in, third, fourth)
		wantApplied(t, in, "a:3 A3", "a:4 A4")
		if s := status(t, in); s.Missing != 2 || s.Missed != 6 {
			t.Fatalf("status is %+v, want 2 versions and 6 events missing", s)
		}
	})
	t.Run("a history records a hole", func(t *testing.T) {
		c := newClock()
		in, _ := newInbox(t, 0, every, c.config)
		in.lossy.Store(true)
		hear(t, in, append(seqs(t, firstLog, 1), third, fourth)...)
		wantApplied(t, in, firstLog+"-1:1 ")
		c.pass(lossyGapWait)
		mustRelease(in)
		wantApplied(t, in, firstLog+"-1:1 ", "a:3 A3", "a:4 A4")
		holes, err := in.Holes(t.Context(), source, "a")
		if err != nil || !slices.Equal(holes, []Hole{{1, 2}}) {
			t.Fatalf("holes are %v, %v, want versions 1 to 2", holes, err)
		}
		hear(t, in, numbered(created(t, "a", 1, "A1"), firstLog, 2)) // late after all
		wantApplied(t, in, firstLog+"-1:1 ", "a:3 A3", "a:4 A4", "a:1 A1")
		if s := status(t, in); s.Holes != 1 || s.Missing != 1 || s.Missed != 4 {
			t.Fatalf("status is %+v, want a hole of 1 and 4 events missed", s)
		}
	})
	t.Run("elsewhere its first version is its base", func(t *testing.T) {
		in, _ := newInbox(t, 0, every)
		hear(t, in, third)
		hear(t, in, fourth)
		wantApplied(t, in, "a:3 A3", "a:4 A4")
		if s := status(t, in); s.Missing != 0 || s.Missed != 0 || s.Waiting != 0 {
			t.Fatalf("status is %+v, want nothing missing", s)
		}
	})
}

// A numbering begins anew with the tables of the owner's outbox, while the keys and their versions go on.
func TestANumberingYoungerThanItsKeysTellsNothingOfTheirVersions(t *testing.T) {
	const other = bus.SeqLogFirst + "y" // it takes more than the owner's word
	for name, tt := range map[string]struct {
		log    string
		before func(t *testing.T, in *Inbox)
	}{
		"its owner doesn't say so":      {"y", func(*testing.T, *Inbox) {}},
		"nor before its first number":   {"y", func(t *testing.T, in *Inbox) { hear(t, in, beat(t, "y", 0)) }},
		"after another one":             {other, func(t *testing.T, in *Inbox) { hear(t, in, seqs(t, "x", 5000)...) }},
		"after one that was followed":   {other, func(t *testing.T, in *Inbox) { hear(t, in, beat(t, "x", 0)) }},
		"beside the end of another one": {other, func(t *testing.T, in *Inbox) { hear(t, in, append(seqs(t, "x", 7), beat(t, other, 0))...) }},
		"on a bus that was another one": {other, func(t *testing.T, in *Inbox) { hear(t, in, numbered(created(t, "k", 1, ""), "", 0)) }},
	} {
		before, seventh, ninth := tt.before, numbered(updated(t, "old", 7, "A7"), tt.log, 1), numbered(updated(t, "old", 9, "A9"), tt.log, 3)
		t.Run(name, func(t *testing.T) {
			c := newClock()
			in, _ := newInbox(t, 0, every, c.config)
			in.lossy.Store(true)
			before(t, in)
			hear(t, in, seventh)
			hear(t, in, seventh)
			if s := status(t, in); s.Waiting != 0 || s.Missing != 0 || s.Holes != 0 || s.Missed != 0 {
				t.Fatalf("status is %+v, want nothing missing", s)
			}
			hear(t, in, ninth) // from here on it is known
			if s := status(t, in); s.Waiting != 1 || s.Missed != 1 {
				t.Fatalf("status is %+v, want that version 8 is waited for", s)
			}
		})
	}
}

func TestTheBusSaysHowLongMissingVersionsAreWaitedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		bus  bus.Bus
		set  time.Duration
		want time.Duration
	}{
		"a durable bus":    {newRecorder(t), 0, time.Minute},
		"one that isn't":   {bus.Wrap(&pubsub{}), 0, 5 * time.Second},
		"as the user says": {bus.Wrap(&pubsub{}), time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c, ready := newClock(), make(chan bool, 2)
			cfg := config(t, newDB(t))
			cfg.Gaps, cfg.GapWait, cfg.Now, cfg.OnReady = Every, tt.set, c.Now, func(is bool) { ready <- is }
			in := mustNew(t, cfg, recordAll()...)
			run(t, in, tt.bus)
			<-ready
			publish(t, tt.bus, created(t, "a", 1, "A"), updated(t, "a", 3, "A3"))
			eventually(t, func() string {
				if status(t, in).Waiting != 1 {
					return "nothing waits"
				}
				return ""
			})
			if until := time.UnixMilli(count(t, in, `SELECT until FROM tidings_inbox_waiting`)); until.Sub(c.now) != tt.want {
				t.Fatalf("it waits for %v, want %v", until.Sub(c.now), tt.want)
			}
		})
	}
}

// On a bus in memory that loses every third event on its way to each replica.
func TestReplicasOnABusWithoutALogMissTogetherWhatNeitherHeard(t *testing.T) {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 2))
	missTogether(t, topic, bus.Wrap(&pubsub{lose: func(_ int, e *bus.Event) bool {
		mu.Lock()
		defer mu.Unlock()
		_, heartbeat := e.Heartbeat()
		return !heartbeat && rnd.IntN(3) == 0
	}}))
}

// missTogether lets two replicas share a database; both hear all, and each loses what its connection loses, and what is
// sent while it is stopped. What they have missed in the end is what is not in the database, to the unit.
func missTogether(t *testing.T, topic string, b bus.Bus) {
	db, given := newDB(t), uint64(0)
	var in *Inbox
	start := func() (stop func()) {
		ready := make(chan bool, 2)
		cfg := config(t, db)
		cfg.Topics, cfg.MaxBatch, cfg.Logger, cfg.OnReady = []string{topic}, 7, new(logs).logger(), func(is bool) { ready <- is }
		in = mustNew(t, cfg, recordAll()...)
		stop = run(t, in, b)
		<-ready
		return stop
	}
	send := func(events ...bus.Event) {
		if len(events) == 0 {
			for range 400 {
				given++
				events = append(events, numbered(created(t, fmt.Sprint("k", given), 1, ""), "x", given))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		if err := b.Publish(ctx, topic, events...); err != nil {
			t.Fatal(err)
		}
	}
	stopFirst, stopSecond := start(), start()
	send(beat(t, "x", 0))
	eventually(t, func() string { // so that number 1 is the first to count
		if len(status(t, in).Streams) == 0 {
			return "the heartbeat was not heard"
		}
		return ""
	})
	send()
	stopSecond()
	send()
	stopFirst()
	send() // to nobody
	start()
	start()
	send()
	send(beat(t, "x", given))
	eventually(t, func() string {
		s, applied := status(t, in), count(t, in, `SELECT COUNT(*) FROM applied`)
		if want := int64(given) - applied; s.Missed != want || s.Streams[0].Highest != given || s.Streams[0].First != 1 {
			return fmt.Sprintf("%d of %d are in the database, and the status is %+v", applied, given, s)
		}
		return ""
	})
	if s := status(t, in); s.Missed < 400 {
		t.Fatalf("missed only %d: what was published to nobody is not among them", s.Missed)
	}
}

// What the bus itself notices is told as it tells it.
func TestOnGapHearsTheBusToo(t *testing.T) {
	told := make(chan bus.Gap, 1)
	cfg := config(t, newDB(t))
	cfg.OnGap = func(_ context.Context, g bus.Gap) { told <- g }
	in := mustNew(t, cfg, recordAll()...)
	want := bus.Gap{At: bus.Position{Topic: topic, Offset: -1}, Reason: "the connection was lost"}
	run(t, in, bus.Wrap(leaky{&pubsub{}, want}))
	select {
	case got := <-told:
		if got != want {
			t.Fatalf("OnGap heard %+v, want %+v", got, want)
		}
	case <-time.After(soon):
		t.Fatal("OnGap heard nothing")
	}
}

// leaky is a bus that tells of a gap as soon as one subscribes.
type leaky struct {
	*pubsub
	gap bus.Gap
}

func (b leaky) Subscribe(ctx context.Context, s bus.Subscription, h bus.Handler) error {
	s.OnGap(ctx, b.gap)
	return b.pubsub.Subscribe(ctx, s, h)
}
