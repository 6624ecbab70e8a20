package inbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/proto"
)

func every(c *Config) { c.Gaps = Every }

// clock is a clock that a test sets.
type clock struct{ now time.Time }

func newClock() *clock                { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }
func (c *clock) Now() time.Time       { return c.now }
func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }
func (c *clock) config(cfg *Config)   { cfg.Now = c.Now }

// release lets the time pass that events wait, and releases them.
func (c *clock) release(in *Inbox) {
	c.pass(in.gapWait())
	mustRelease(in)
}

// mustRelease does what Run's timer does.
func mustRelease(in *Inbox) {
	if _, err := in.transact(context.Background(), func(ctx context.Context, a *attempt) error { return a.releaseDue(ctx) }); err != nil {
		panic(err)
	}
}

func wantStatus(t testing.TB, in *Inbox, want Status) {
	t.Helper()
	got := status(t, in)
	got.Group, got.Positions, got.Lag = "", nil, 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("status (-want +got):\n%s", diff)
	}
}

func TestAHistoryHoldsLaterEventsBack(t *testing.T) {
	in, l := newInbox(t, 1, every)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 4, "A4"), updated(t, "a", 3, "A3"), created(t, "b", 1, "B"),
		updated(t, "a", 2, "A2"), updated(t, "a", 5, "A5"))
	l.play(in, cut{0, 0, 4})
	wantApplied(t, in, "a:1 A", "b:1 B")
	wantPositions(t, in, 4)
	wantStatus(t, in, Status{Keys: 2, Versions: 2, Waiting: 2})
	l.play(in, cut{0, 4, 6})
	wantApplied(t, in, "a:1 A", "b:1 B", "a:2 A2", "a:3 A3", "a:4 A4", "a:5 A5")
	wantStatus(t, in, Status{Keys: 2, Versions: 6})
}

func TestEventsOutOfOrderInOneDeliveryAreSorted(t *testing.T) {
	in, l := newInbox(t, 1, every)
	l.put(0, updated(t, "a", 3, "A3"), updated(t, "a", 2, "A2"), created(t, "a", 1, "A1"), updated(t, "a", 4, "A4"), updated(t, "a", 6, "A6"))
	l.play(in, cut{0, 0, 5})
	wantApplied(t, in, "a:1 A1", "a:2 A2", "a:3 A3", "a:4 A4")
	wantStatus(t, in, Status{Keys: 1, Versions: 4, Waiting: 1})
}

func TestAWaitingEventThatIsRedeliveredIsDiscarded(t *testing.T) {
	in, l := newInbox(t, 1, every)
	l.put(0, updated(t, "a", 3, "A3"), updated(t, "a", 3, "A3"), updated(t, "a", 3, "A3"), created(t, "a", 1, "A1"), updated(t, "a", 2, "A2"))
	l.play(in, cut{0, 0, 2})
	l.play(in, cut{0, 2, 5})
	wantApplied(t, in, "a:1 A1", "a:2 A2", "a:3 A3")
	wantStatus(t, in, Status{Keys: 1, Versions: 3, Duplicates: 2})
}

func TestAHistoryRecordsAHoleAfterItsWait(t *testing.T) {
	c := newClock()
	in, l := newInbox(t, 1, every, c.config)
	l.put(0, created(t, "a", 1, "A1"), updated(t, "a", 4, "A4"), updated(t, "a", 5, "A5"), updated(t, "a", 9, "A9"))
	l.play(in, cut{0, 0, 3})
	c.pass(in.gapWait() - time.Millisecond)
	mustRelease(in)
	wantApplied(t, in, "a:1 A1")
	l.play(in, cut{0, 3, 4}) // has just begun to wait
	c.pass(time.Millisecond)
	mustRelease(in)
	wantApplied(t, in, "a:1 A1", "a:4 A4", "a:5 A5")
	wantStatus(t, in, Status{Keys: 1, Versions: 5, Waiting: 1, Holes: 1, Missing: 2})
	c.release(in)
	wantApplied(t, in, "a:1 A1", "a:4 A4", "a:5 A5", "a:9 A9")
	wantStatus(t, in, Status{Keys: 1, Versions: 9, Holes: 2, Missing: 5})
}

func TestALaterEventWhoseTimeIsOverReleasesThoseBeforeIt(t *testing.T) {
	c := newClock()
	in, l := newInbox(t, 1, every, c.config)
	l.put(0, updated(t, "a", 6, "A6"), updated(t, "a", 3, "A3"))
	l.play(in, cut{0, 0, 1})
	c.pass(in.gapWait() / 2)
	l.play(in, cut{0, 1, 2})
	c.pass(in.gapWait() / 2)
	mustRelease(in) // 6 has waited for all before it, so for 1 and 2 too
	wantApplied(t, in, "a:3 A3", "a:6 A6")
	wantStatus(t, in, Status{Keys: 1, Versions: 6, Holes: 2, Missing: 4})
}

func TestALateEventShrinksItsHole(t *testing.T) {
	c := newClock()
	in, l := newInbox(t, 1, every, c.config)
	l.put(0, updated(t, "a", 6, "A6"))
	l.play(in, cut{0, 0, 1})
	c.release(in)
	for i, tt := range []struct {
		version        uint64
		holes, missing int64
	}{{3, 2, 4}, {1, 2, 3}, {5, 2, 2}, {4, 1, 1}, {2, 0, 0}} {
		l.put(0, updated(t, "a", tt.version, "late"), updated(t, "a", tt.version, "again"))
		at := int64(1 + 2*i)
		l.play(in, cut{0, at, at + 1})
		l.play(in, cut{0, at + 1, at + 2})
		wantStatus(t, in, Status{Keys: 1, Versions: 6, Holes: tt.holes, Missing: tt.missing, Duplicates: int64(i + 1)})
	}
	wantApplied(t, in, "a:6 A6", "a:3 late", "a:1 late", "a:5 late", "a:4 late", "a:2 late")
}

func TestWaitingOutlivesARestart(t *testing.T) {
	db := newDB(t)
	cfg := config(t, db)
	cfg.Gaps = Every
	in, l := mustNew(t, cfg, recordAll()...), newTape(t, 1)
	a3 := updated(t, "a", 3, "A3")
	a3.Ext = map[string]string{"traceparent": "00-x-y-01"}
	l.resume(in)
	l.put(0, created(t, "a", 1, "A1"), a3)
	l.play(in, cut{0, 0, 2})
	var seen bus.Event
	routes := recordAll()
	routes[1].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
		seen = *e
		return insert(ctx, tx, e, "seen")
	}
	cfg.GapWait = 50 * time.Millisecond // the wait that was begun stands
	in = mustNew(t, cfg, routes...)
	l.put(0, updated(t, "a", 2, "A2"))
	l.play(in, cut{0, 2, 3})
	wantApplied(t, in, "a:1 A1", "a:2 seen", "a:3 seen")
	want := l.parts[0][1]
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Fatalf("the event that waited (-as it came +as it was applied):\n%s", diff)
	}
}

func TestRunReleasesByItself(t *testing.T) {
	cfg := config(t, newDB(t))
	cfg.Gaps, cfg.GapWait = Every, 30*time.Millisecond
	in := mustNew(t, cfg, recordAll()...)
	r := newRecorder(t)
	publish(t, r, updated(t, "a", 2, "A2"), updated(t, "b", 3, "B3"))
	stop := run(t, in, r)
	await(t, in, "a", 2)
	await(t, in, "b", 3)
	stop()
	wantStatus(t, in, Status{Keys: 2, Versions: 5, Holes: 2, Missing: 3})
}

func TestAReleaseThatFailsIsTriedAgain(t *testing.T) {
	cfg := config(t, newDB(t))
	cfg.Gaps, cfg.GapWait = Every, 10*time.Millisecond
	failures := 2
	routes := recordAll()
	insertIt := routes[1].event
	routes[1].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
		if failures--; failures >= 0 {
			return errStore
		}
		return insertIt(ctx, tx, e, m)
	}
	in := mustNew(t, cfg, routes...)
	r := newRecorder(t)
	publish(t, r, updated(t, "a", 2, "A2"))
	run(t, in, r)
	await(t, in, "a", 2)
	wantApplied(t, in, "a:2 A2")
}

func TestAnEventThatWaitedCanBeParked(t *testing.T) {
	c := newClock()
	cfg := config(t, newDB(t))
	every(&cfg)
	c.config(&cfg)
	routes := recordAll()
	routes[1].event = func(context.Context, Tx, *bus.Event, proto.Message) error { return bus.Permanent(errTest) }
	in, l := mustNew(t, cfg, routes...), newTape(t, 1)
	l.resume(in)
	l.put(0, updated(t, "a", 2, "A2"))
	l.play(in, cut{0, 0, 1})
	c.release(in)
	wantStatus(t, in, Status{Keys: 1, Versions: 2, Holes: 1, Missing: 1, Parked: 1, Dead: 1})
	var e *NotAppliedError
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := in.Await(ctx, source, "a", 2); !errors.As(err, &e) || e.State != Parked {
		t.Fatalf("Await = %v, want parked", err)
	}
	if err := in.Await(ctx, source, "a", 1); !errors.As(err, &e) || e.State != Behind {
		t.Fatalf("Await of a version in a hole = %v, want behind", err)
	}
}
