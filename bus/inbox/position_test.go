package inbox

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/proto"
)

func wantApplied(t testing.TB, in *Inbox, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, applications(t, in.cfg.DB)); diff != "" {
		t.Fatalf("applied (-want +got):\n%s", diff)
	}
}

func wantPositions(t testing.TB, in *Inbox, want ...int64) {
	t.Helper()
	var got []int64
	for _, p := range status(t, in).Positions {
		got = append(got, p.Offset)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("positions are %v, want %v", got, want)
	}
}

// newInbox makes an inbox with recordAll's routes, and a tape that it has been asked to resume on.
func newInbox(t testing.TB, partitions int, change ...func(*Config)) (*Inbox, *tape) {
	t.Helper()
	cfg := config(t, newDB(t))
	for _, c := range change {
		c(&cfg)
	}
	in, l := mustNew(t, cfg, recordAll()...), newTape(t, partitions)
	l.resume(in)
	return in, l
}

func TestADeliveryStoresEffectsMarksAndPositionsTogether(t *testing.T) {
	in, l := newInbox(t, 2)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"))
	l.put(1, created(t, "b", 1, "B"))
	l.play(in, cut{0, 0, 2}, cut{1, 0, 1})
	wantApplied(t, in, "a:1 A", "a:2 AA", "b:1 B")
	wantPositions(t, in, 2, 1)
	if s := status(t, in); s.Keys != 2 || s.Versions != 3 || s.Duplicates != 0 || s.Missing != 0 {
		t.Fatalf("status is %+v", s)
	}
}

func TestADeliveryWithoutEventsStoresItsPositions(t *testing.T) {
	in, l := newInbox(t, 1)
	d := bus.Delivery{Ranges: []bus.Range{{Position: bus.Position{Topic: topic, Log: l.id}, Next: 7}}}
	if err := in.handle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	wantPositions(t, in, 7)
}

func TestAFailedDeliveryStoresNothing(t *testing.T) {
	db := newDB(t)
	fail := true
	routes := recordAll()
	first := routes[0].event
	routes[0].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
		if err := first(ctx, tx, e, m); err != nil || !fail || e.Key != "c" {
			return err
		}
		return errStore
	}
	in, l := mustNew(t, config(t, db), routes...), newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"), created(t, "b", 1, "B"), created(t, "c", 1, "C"))
	if err := in.handle(t.Context(), l.delivery(cut{0, 0, 3})); err == nil {
		t.Fatal("the handler's error was lost")
	}
	wantApplied(t, in)
	wantPositions(t, in, 0)
	if s := status(t, in); s.Keys != 0 || s.Parked != 0 {
		t.Fatalf("status is %+v, want nothing stored", s)
	}
	fail = false
	l.play(in, cut{0, 0, 3})
	wantApplied(t, in, "a:1 A", "b:1 B", "c:1 C")
}

func TestEventsBelowTheStoredPositionAreLeftOut(t *testing.T) {
	in, l := newInbox(t, 2)
	l.put(0, created(t, "a", 1, "A"), created(t, "b", 1, "B"), created(t, "c", 1, "C"))
	l.put(1, created(t, "d", 1, "D"))
	l.play(in, cut{0, 0, 2})
	forgetMarks(t, in)
	l.play(in, cut{0, 0, 3}, cut{1, 0, 1}) // another member has done the first two
	wantApplied(t, in, "a:1 A", "b:1 B", "c:1 C", "d:1 D")
	wantPositions(t, in, 3, 1)
	if n := status(t, in).Duplicates; n != 0 {
		t.Fatalf("%d duplicates, want 0: what the position leaves out was not looked at", n)
	}
	l.play(in, cut{0, 0, 1}) // a range that was done altogether
	wantPositions(t, in, 3, 1)
}

// forgetMarks empties the marks, so that only positions can tell what was done.
func forgetMarks(t testing.TB, in *Inbox) {
	t.Helper()
	mustExec(t, in.cfg.DB, `DELETE FROM tidings_inbox_mark`)
	mustExec(t, in.cfg.DB, `DELETE FROM tidings_inbox_done`)
}

func TestAPositionBehindTheDeliveryIsReadAgain(t *testing.T) {
	in, l := newInbox(t, 3)
	for p, key := range []string{"a", "b", "c"} {
		l.put(p, created(t, key, 1, key), updated(t, key, 2, key))
	}
	l.play(in, cut{0, 0, 1}, cut{1, 0, 1}, cut{2, 0, 1})
	// Somebody puts partition 1 back, and removes partition 2.
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0 WHERE part = 1`)
	mustExec(t, in.cfg.DB, `DELETE FROM tidings_inbox_position WHERE part = 2`)
	err := in.handle(t.Context(), l.delivery(cut{0, 1, 2}, cut{1, 1, 2}, cut{2, 1, 2}))
	if got := reread(t, err); !slices.Equal(got, []int32{1, 2}) {
		t.Fatalf("asks to read %v again, want partitions 1 and 2", got)
	}
	wantApplied(t, in, "a:1 a", "b:1 b", "c:1 c", "a:2 a")
	if next := l.resume(in); !slices.Equal(next, []int64{2, 0, 0}) {
		t.Fatalf("resumes at %v, want 2, 0 and 0", next)
	}
	l.rest(in)
	wantApplied(t, in, "a:1 a", "b:1 b", "c:1 c", "a:2 a", "b:2 b", "c:2 c")
}

func TestAnotherLogIsReadAgain(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, created(t, "a", 1, "A"))
	l.play(in, cut{0, 0, 1})
	anew := newTape(t, 1)
	anew.id = "log-2"
	anew.put(0, created(t, "x", 1, "X"), created(t, "y", 1, "Y"))
	err := in.handle(t.Context(), anew.delivery(cut{0, 1, 2}))
	if got := reread(t, err); !slices.Equal(got, []int32{0}) {
		t.Fatalf("asks to read %v again, want partition 0", got)
	}
	wantApplied(t, in, "a:1 A")
}

func TestAnEventOutsideTheRangesIsAnError(t *testing.T) {
	in, l := newInbox(t, 2)
	l.put(0, created(t, "a", 1, "A"))
	d := l.delivery(cut{0, 0, 1})
	d.Ranges[0].Partition = 1
	if err := in.handle(t.Context(), d); err == nil {
		t.Fatal("an event of a partition without a range was taken")
	}
	wantApplied(t, in)
}

func TestABusWithoutALogNeedsNoPositions(t *testing.T) {
	in, _ := newInbox(t, 0)
	a1, a2 := created(t, "a", 1, "A"), updated(t, "a", 2, "AA")
	a1.At.Offset, a2.At.Offset = -1, -1
	for _, events := range [][]bus.Event{{a1}, {a1, a2}, {a2}} {
		if err := in.handle(t.Context(), bus.Delivery{Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	wantApplied(t, in, "a:1 A", "a:2 AA")
	if n := status(t, in).Duplicates; n != 2 {
		t.Fatalf("%d duplicates, want 2", n)
	}
}
