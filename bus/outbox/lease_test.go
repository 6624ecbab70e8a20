package outbox

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/bustest"
)

// holder is who has the lease.
func holder(t *testing.T, o *Outbox) string {
	t.Helper()
	l, err := (&relay{Outbox: o}).readLease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l.holder
}

func TestOneOfManyRelaysWorks(t *testing.T) {
	file := newFile(t)
	rec := bustest.NewRecorder()
	counting := &countingBus{Bus: rec}
	var outboxes []*Outbox
	for range 3 { // as three processes, each with two relays by mistake
		o := newOutbox(t, openDB(t, file))
		outboxes = append(outboxes, o)
		relaying(t, o, counting)
		relaying(t, o, counting)
	}
	for v := 1; v <= 200; v++ {
		add(t, outboxes[v%3], event("a", v))
	}
	drained(t, outboxes[0])
	if repeats := inOrder(t, rec, map[string]int{"a": 200}); repeats > 0 || counting.most.Load() != 1 {
		t.Errorf("%d repeats, %d at once", repeats, counting.most.Load())
	}
}

func TestNextRelayStartsAtOnceAfterACleanStop(t *testing.T) {
	file := newFile(t)
	one, two := newOutbox(t, openDB(t, file)), newOutbox(t, openDB(t, file))
	one.pace.lease, two.pace.lease = time.Hour, time.Hour
	rec := bustest.NewRecorder()
	stop := relaying(t, one, rec)
	eventually(t, "the first relay", func() bool { return holder(t, one) != "" })
	first := holder(t, one)
	relaying(t, two, rec)
	stop()
	eventually(t, "the second relay", func() bool { h := holder(t, one); return h != "" && h != first })
	add(t, two, event("a", 1))
	published(t, rec, 1)
}

func TestRelayThatWasKilledIsWaitedForNoLongerThanItsLease(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	killed := newRelay(o, bustest.NewRecorder(), "killed")
	if err := killed.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	relaying(t, o, rec)
	add(t, o, event("a", 1))
	published(t, rec, 1)
	if took := time.Since(start); took < o.pace.lease/2 || took > 10*o.pace.lease {
		t.Errorf("the next one began after %v, with a lease of %v", took, o.pace.lease)
	}
}

func TestLeaseFromAClockThatIsAhead(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	ahead := newOutbox(t, o.db)
	ahead.now = func() time.Time { return time.Now().Add(24 * time.Hour) }
	killed := newRelay(ahead, bustest.NewRecorder(), "killed")
	if err := killed.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	relaying(t, o, rec)
	add(t, o, event("a", 1))
	published(t, rec, 1)
}

func TestLeaseIsRenewedWhileIdleAndWhileBlocked(t *testing.T) {
	file := newFile(t)
	o, rec := newOutbox(t, openDB(t, file)), bustest.NewRecorder()
	o.pace.lease = 300 * time.Millisecond
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return holder(t, o) != "" })
	first := holder(t, o)
	relaying(t, newOutbox(t, openDB(t, file)), rec) // would take it
	rec.SetDown(true)
	renewals, last := 0, int64(0)
	for _, step := range []string{"idle", "blocked"} {
		renewals = 0
		eventually(t, "renewals while "+step, func() bool {
			l, err := (&relay{Outbox: o}).readLease(t.Context())
			if err == nil && l.until != last {
				last = l.until
				renewals++
			}
			return renewals > 6
		})
		add(t, o, event("a", 1))
	}
	if h := holder(t, o); h != first {
		t.Error("the lease was lost")
	}
}

func TestRelayThatLostItsLeaseStopsAndComesBack(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	rec.SetDown(true)
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return holder(t, o) != "" })
	own := holder(t, o)
	add(t, o, event("a", 1)) // it is publishing, and blocked
	rob(t, o, "thief")
	eventually(t, "the lease to come back", func() bool { return holder(t, o) == own })
	rec.SetDown(false)
	drained(t, o)
	inOrder(t, rec, map[string]int{"a": 1})
}

func TestLeaseLostAtTheMarkEndsTheWork(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	add(t, o, event("a", 1))
	ctx, cancel := context.WithCancelCause(t.Context())
	r := newRelay(o, rec, "old")
	r.lost = cancel
	if _, err := r.pass(ctx); err != nil { // it never had the lease
		t.Fatal(err)
	}
	if context.Cause(ctx) != errLost {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	if s := status(t, o); s.Pending != 0 || s.Sent != 1 || s.Relaying {
		t.Errorf("what was acknowledged is marked all the same: %+v", s)
	}
}

func TestTwoLeadersRepeatAndKeepTheOrder(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	want := make(map[string]int)
	for v := 1; v <= 50; v++ {
		for k := range 4 {
			key := fmt.Sprint("k", k)
			add(t, o, event(key, v))
			want[key] = v
		}
	}
	o.pace.batch = 10
	done := make(chan error, 2)
	for i := range cap(done) { // both believe that they lead
		go func() {
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			r := newRelay(o, rec, fmt.Sprint(i))
			r.lost = func(error) {}
			_, err := r.pass(ctx)
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	inOrder(t, rec, want)
	if s := status(t, o); s.Pending != 0 || s.Sent != 200 {
		t.Errorf("though both marked, no event counts twice: %+v", s)
	}
}
