package inbox

import (
	"fmt"
	"math"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

func TestARedeliveredEventIsDiscarded(t *testing.T) {
	in, l := newInbox(t, 1)
	a := created(t, "a", 1, "A")
	l.put(0, a, a, updated(t, "a", 2, "AA"), a) // the relay has published it three times
	l.play(in, cut{0, 0, 1})
	l.play(in, cut{0, 1, 4})
	wantApplied(t, in, "a:1 A", "a:2 AA")
	if n := status(t, in).Duplicates; n != 2 {
		t.Fatalf("%d duplicates, want 2", n)
	}
}

func TestAReplayFromTheStartChangesNothing(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"), deleted(t, "a", 3))
	l.rest(in)
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
	l.rest(in)
	wantApplied(t, in, "a:1 A", "a:2 AA", "a:3 ")
}

func TestAProjectionAppliesTheNewestAndCountsTheGap(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 4, "A4"), updated(t, "a", 3, "A3"), updated(t, "b", 3, "B3"))
	l.play(in, cut{0, 0, 4})
	wantApplied(t, in, "a:1 A", "a:4 A4", "b:3 B3")
	if s := status(t, in); s.Missing != 4 || s.Versions != 7 || s.Duplicates != 1 || s.Holes != 0 {
		t.Fatalf("status is %+v, want versions 2, 3 of a and 1, 2 of b missing", s)
	}
}

func TestAGroupThatBeganLaterTakesTheFirstVersionItSeesAsBase(t *testing.T) {
	for _, gaps := range []Gaps{Newest, Every} {
		t.Run(fmt.Sprint(gaps), func(t *testing.T) {
			cfg := config(t, newDB(t))
			cfg.Gaps = gaps
			in, l := mustNew(t, cfg, recordAll()...), newTape(t, 1)
			l.first = 100
			l.put(0, updated(t, "a", 7, "A7"), updated(t, "a", 8, "A8"))
			l.rest(in)
			wantApplied(t, in, "a:7 A7", "a:8 A8")
			if s := status(t, in); s.Missing != 0 || s.Waiting != 0 {
				t.Fatalf("status is %+v, want nothing missing", s)
			}
		})
	}
}

func TestANewPartitionIsWholeIfTheOthersAre(t *testing.T) {
	for _, tt := range []struct {
		name    string
		first   int64
		missing int64
	}{{"whole", 0, 4}, {"not whole", 10, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			in := mustNew(t, config(t, newDB(t)), recordAll()...)
			resumed(t, in, partition(0, "log-1", tt.first, 50, tt.first))
			l := newTape(t, 2)
			l.put(1, updated(t, "a", 5, "A5"))
			resumed(t, in, partition(1, "log-1", 0, 1, 1))
			l.play(in, cut{1, 0, 1})
			if n := status(t, in).Missing; n != tt.missing {
				t.Fatalf("%d versions missing, want %d", n, tt.missing)
			}
		})
	}
}

func TestEventsWithoutAVersionAreMarkedBySourceAndID(t *testing.T) {
	in, l := newInbox(t, 1)
	x, y := created(t, "a", 0, "X"), created(t, "a", 0, "Y")
	other := x
	other.Source = "/elsewhere"
	l.put(0, x, x, y, other)
	l.play(in, cut{0, 0, 1})
	l.play(in, cut{0, 1, 4})
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
	l.play(in, cut{0, 0, 4})
	wantApplied(t, in, "a:0 X", "a:0 Y", "a:0 X")
	if s := status(t, in); s.Duplicates != 5 || s.Keys != 0 {
		t.Fatalf("status is %+v, want 5 duplicates and no marks", s)
	}
}

func TestAnIgnoredTypeCountsAsDone(t *testing.T) {
	db := newDB(t)
	in, l := mustNew(t, config(t, db), recordAll()[1]), newTape(t, 1) // takes UserUpdated only
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"), created(t, "b", 0, "B"))
	l.rest(in)
	wantApplied(t, in, "a:2 AA")
	if s := status(t, in); s.Ignored != 2 || s.Missing != 0 || s.Versions != 2 || s.Parked != 0 {
		t.Fatalf("status is %+v", s)
	}
	// One without a version takes no room, and a release that wants it can have it by a rewind.
	in = mustNew(t, config(t, db), recordAll()...)
	mustExec(t, db, `UPDATE tidings_inbox_position SET next = 0`)
	l.rest(in)
	wantApplied(t, in, "a:2 AA", "b:0 B")
}

func TestAReleaseThatTakesAnIgnoredTypeSaysThatARebuildIsDue(t *testing.T) {
	db := newDB(t)
	in, l := mustNew(t, config(t, db), recordAll()[1]), newTape(t, 1)
	l.put(0, created(t, "a", 1, "A"))
	l.rest(in)
	cfg := config(t, db)
	var logged logs
	cfg.Logger = logged.logger()
	mustNew(t, cfg, recordAll()[1])
	if logged.has("a rebuild is due") {
		t.Fatal("a rebuild is said to be due though the types are the same")
	}
	mustNew(t, cfg, recordAll()...)
	if !logged.has("a rebuild is due", (&eventsv1.UserCreated{}).ProtoReflect().Descriptor().FullName()) {
		t.Fatalf("nothing was said about a rebuild: %s", logged.String())
	}
}

func TestUnknownTypesAreParkedWhereAsked(t *testing.T) {
	cfg := config(t, newDB(t))
	cfg.Unknown = Park
	in, l := mustNew(t, cfg, recordAll()[1]), newTape(t, 1)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"))
	l.rest(in)
	wantApplied(t, in, "a:2 AA")
	if s := status(t, in); s.Parked != 1 || s.Dead != 0 || s.Ignored != 0 {
		t.Fatalf("status is %+v, want 1 parked", s)
	}
}

func TestAVersionBeyondReasonIsParked(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, updated(t, "a", math.MaxUint64, "A"), created(t, "b", 1, "B"), updated(t, "c", maxVersion, "C"))
	l.play(in, cut{0, 0, 3})
	wantApplied(t, in, "b:1 B", fmt.Sprintf("c:%d C", int64(maxVersion)))
	if s := status(t, in); s.Dead != 1 {
		t.Fatalf("status is %+v, want 1 dead", s)
	}
}

func TestManyKeysInOneDelivery(t *testing.T) {
	// Sizes around those of the statements, and keys in no order.
	for _, n := range []int{1, 3, 4, 5, 17, 63, 64, 65, 257, 341, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			in, l := newInbox(t, 1)
			var events []bus.Event
			for i := range n {
				events = append(events, created(t, fmt.Sprintf("k%d", i*7919%n), 1, ""))
			}
			l.put(0, events...)
			l.put(0, events...)
			l.play(in, cut{0, 0, int64(n)})
			l.play(in, cut{0, int64(n), int64(2 * n)})
			if s := status(t, in); s.Keys != int64(n) || s.Versions != uint64(n) || s.Duplicates != int64(n) {
				t.Fatalf("status is %+v, want %d keys and as many duplicates", s, n)
			}
		})
	}
}
