package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// notApplied asks without waiting, and wants to hear that a version is not there.
func notApplied(t testing.TB, in *Inbox, key string, version uint64) *NotAppliedError {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	var e *NotAppliedError
	if err := in.Await(ctx, source, key, version); !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Await = %v, want a NotAppliedError that wraps the context's", err)
	}
	return e
}

func TestAwaitReturnsOnceTheVersionIsApplied(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"))
	e := notApplied(t, in, "a", 1)
	if want := (NotAppliedError{source, "a", 0, 1, Behind, context.DeadlineExceeded}); *e != want {
		t.Fatalf("Await says %+v, want %+v", *e, want)
	}
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			if err := in.Await(ctx, source, "a", 2); err != nil {
				t.Error(err)
			}
		})
	}
	l.play(in, cut{0, 0, 1})
	if e := notApplied(t, in, "a", 2); e.Have != 1 || e.State != Behind {
		t.Fatalf("Await says %+v, want that it has 1 and is behind", e)
	}
	l.play(in, cut{0, 1, 2})
	waiting.Wait()
	await(t, in, "a", 1)
	await(t, in, "b", 0)
	if n := len(in.waiters.keys); n != 0 {
		t.Fatalf("%d waiters are left behind", n)
	}
}

func TestAwaitIsWokenByACommit(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, created(t, "a", 1, "A"))
	c := in.waiters.add(source, "a")
	other := in.waiters.add(source, "b")
	defer in.waiters.remove(source, "a", c)
	defer in.waiters.remove(source, "b", other)
	l.play(in, cut{0, 0, 1})
	select {
	case <-c:
	default:
		t.Fatal("who waits for the key was not woken")
	}
	select {
	case <-other:
		t.Fatal("who waits for another key was woken")
	default:
	}
}

func TestAwaitSeesTheCommitOfAnotherReplica(t *testing.T) {
	db := newDB(t)
	one, two := mustNew(t, config(t, db), recordAll()...), mustNew(t, config(t, db), recordAll()...)
	l := newTape(t, 1)
	l.put(0, created(t, "a", 1, "A"))
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		done <- one.Await(ctx, source, "a", 1)
	}()
	eventually(t, func() string {
		one.waiters.mu.Lock()
		defer one.waiters.mu.Unlock()
		if len(one.waiters.keys) == 0 {
			return "nobody waits"
		}
		return ""
	})
	l.rest(two)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAwaitTellsOfParkedVersions(t *testing.T) {
	var bad uint64
	in := mustNew(t, config(t, newDB(t)), On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserUpdated) error {
		if e.Version >= bad {
			return bus.Permanent(errTest)
		}
		return insert(ctx, tx, &e, "")
	}), recordAll()[0])
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"))
	for v := uint64(2); v <= 6; v++ {
		l.put(0, updated(t, "a", v, ""))
	}
	bad = 4
	l.play(in, cut{0, 0, 5}) // 4 and 5 are parked by one delivery
	for v, parked := range map[uint64]bool{1: false, 3: false, 4: true, 5: true} {
		if !parked {
			await(t, in, "a", v)
		} else if e := notApplied(t, in, "a", v); e.State != Parked || e.Have != 3 {
			t.Errorf("of version %d Await says %v, want that it is parked, and 3 is there", v, e)
		}
	}
	if e := notApplied(t, in, "a", 6); e.State != Behind || e.Have != 3 {
		t.Errorf("of version 6 Await says %v, want that it is behind, and 3 is there", e)
	}
	l.play(in, cut{0, 5, 6}) // 6 is parked by another
	if e := notApplied(t, in, "a", 6); e.State != Parked || e.Have != 3 {
		t.Errorf("of version 6 Await says %v, want that it is parked, and 3 is there", e)
	}
	bad = 99
	l.put(0, updated(t, "a", 7, ""))
	l.play(in, cut{0, 6, 7}) // the newest version makes up for them
	await(t, in, "a", 4)
	await(t, in, "a", 7)
}

func TestAVersionBeforeAParkedOneOfTheSameDeliveryIsApplied(t *testing.T) {
	cfg := config(t, newDB(t))
	cfg.Unknown = Park
	in, l := mustNew(t, cfg, recordAll()[0]), newTape(t, 1)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "")) // nobody takes updates
	l.resume(in)
	l.play(in, cut{0, 0, 2})
	await(t, in, "a", 1)
	if e := notApplied(t, in, "a", 2); e.State != Parked || e.Have != 1 {
		t.Fatalf("Await says %v, want that 2 is parked, and 1 is there", e)
	}
}

func TestAHistoryHasAppliedAVersionOnlyItself(t *testing.T) {
	cfg := config(t, newDB(t))
	every(&cfg)
	in := mustNew(t, cfg, On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserUpdated) error {
		if e.Version == 2 {
			return bus.Permanent(errTest)
		}
		return nil
	}), recordAll()[0])
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, ""), updated(t, "a", 3, ""))
	l.play(in, cut{0, 0, 3})
	for v := range uint64(2) { // the one that is parked, and the one behind it
		if e := notApplied(t, in, "a", 2+v); e.State != Parked || e.Have != 1 {
			t.Fatalf("Await says %v, want parked, and 1 is there", e)
		}
	}
	if e := notApplied(t, in, "a", 4); e.State != Behind || e.Have != 1 {
		t.Fatalf("Await says %v, want behind, and 1 is there", e)
	}
	await(t, in, "a", 1)
}

func TestAwaitReturnsAFaultOfTheDatabase(t *testing.T) {
	in, _ := newInbox(t, 1)
	in.cfg.DB.Close()
	var e *NotAppliedError
	if err := in.Await(t.Context(), source, "a", 1); err == nil || errors.As(err, &e) {
		t.Fatalf("Await = %v, want the database's error", err)
	}
}

func TestNotAppliedErrorReadsWell(t *testing.T) {
	err := fmt.Errorf("get: %w", &NotAppliedError{source, "a", 3, 5, Parked, context.DeadlineExceeded})
	for _, want := range []string{`"a"`, "/users", "version 5", "parked", "have 3", "deadline"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}
