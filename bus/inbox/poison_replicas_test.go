package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/proto"
)

// Replicas try what is parked, take new events in, and a person meddles, all at once: no row is tried twice at a time,
// each version is applied once and in order, and nobody waits in a circle.
func TestReplicasTryEachRowOnceOnPostgres(t *testing.T) {
	const keys, versions = 8, 12
	s := newService(t)
	var trying, left sync.Map // by key; by event
	var twice atomic.Bool
	routes := recordAll()
	for i := range routes {
		do := routes[i].event
		routes[i].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
			if _, other := trying.LoadOrStore(e.Key, true); other {
				twice.Store(true)
			}
			defer trying.Delete(e.Key)
			if err := do(ctx, tx, e, m); err != nil || e.Version%3 != 0 {
				return err
			}
			n, _ := left.LoadOrStore(e.ID, new(atomic.Int64))
			if n.(*atomic.Int64).Add(1) > 4 {
				return nil
			}
			return bus.RetryAfter(0, errTest)
		}
	}
	var ins []*Inbox
	for range 3 {
		ins = append(ins, s.replica(routes, every))
	}
	l := newTape(t, 1)
	for v := uint64(1); v <= versions; v++ {
		for k := range keys {
			l.put(0, updated(t, fmt.Sprint("k", k), v, ""))
		}
	}
	l.resume(ins[0])
	ctx, cancel := context.WithTimeout(t.Context(), 3*soon)
	defer cancel()
	var all sync.WaitGroup
	for _, in := range ins[1:] {
		all.Go(func() {
			if err := in.retryParked(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() { // a person
		parking := openParking(t, ins[0])
		for ctx.Err() == nil {
			rows, err := parking.List(ctx, Filter{State: "parked"})
			for _, r := range rows {
				if _, err := parking.Retry(ctx, r.ID); err != nil && !errors.Is(err, ErrNotParked) && ctx.Err() == nil {
					t.Error(err)
				}
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			wait(ctx, 5*time.Millisecond, nil)
		}
	})
	for at := l.resume(ins[0])[0]; at < l.end(0); at += 6 {
		l.play(ins[0], cut{0, at, min(at+6, l.end(0))})
	}
	for k := range keys {
		if err := ins[0].Await(ctx, source, fmt.Sprint("k", k), versions); err != nil {
			t.Error(err)
		}
	}
	cancel()
	all.Wait()
	wantOrderWithinKeys(t, applications(t, ins[0].cfg.DB))
	wantStatus(t, ins[0], Status{Keys: keys, Versions: keys * versions})
	if twice.Load() {
		t.Error("two tried one key at a time")
	}
	if s.logs.has("deadlock") {
		t.Errorf("a deadlock: %s", s.logs.String())
	}
}

// A try that takes its time holds up its own key alone.
func TestASlowTryHoldsUpItsKeyAloneOnPostgres(t *testing.T) {
	s, c := newService(t), newClock()
	slow, begun, end := &atomic.Bool{}, make(chan bool), make(chan bool)
	fail := &atomic.Bool{}
	fail.Store(true)
	routes := recordAll()
	do := routes[0].event
	routes[0].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
		if fail.Load() {
			return errTest
		}
		if e.Key == "slow" && slow.CompareAndSwap(true, false) {
			begun <- true
			<-end
		}
		return do(ctx, tx, e, m)
	}
	one, other := s.replica(routes, c.config), s.replica(routes, c.config)
	l := newTape(t, 1)
	l.put(0, created(t, "slow", 1, ""), created(t, "b", 1, ""), created(t, "slow", 0, ""), created(t, "c", 1, ""))
	l.all(one)
	wantStatus(t, one, Status{Keys: 3, Versions: 3, Parked: 4})
	fail.Store(false)
	slow.Store(true)
	c.pass(time.Minute)
	var all sync.WaitGroup
	all.Go(func() {
		r := &retrier{Inbox: one, resting: make(map[int64]time.Time)}
		rows, err := r.due(t.Context(), c.now)
		if err != nil {
			t.Error(err)
		}
		for _, row := range rows {
			if row.key == "slow" && row.version == 1 {
				r.one(t.Context(), row)
			}
		}
	})
	<-begun
	slow.Store(false)
	step(t, other)
	if got := applications(t, other.cfg.DB); len(got) != 3 { // what has no version has a line of its own
		t.Errorf("applied %v, want all but slow:1", got)
	}
	close(end)
	all.Wait()
	wantStatus(t, one, Status{Keys: 3, Versions: 3})
}

// An event that comes while its line is tried waits for the outcome, and sees who is in front then, be it another. The
// lines of versions are locked by their marks, those of events without a version by their rows.
func TestWhatComesDuringATrySeesItsOutcomeOnPostgres(t *testing.T) {
	for name, version := range map[string]uint64{"versions": 1, "none": 0} {
		t.Run(name, func(t *testing.T) {
			s, c := newService(t), newClock()
			bad, hold, begun, end := map[string]bool{"1": true, "2": true}, false, make(chan bool), make(chan bool)
			routes := recordAll()
			do := routes[0].event
			routes[0].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
				if bad[e.ID] {
					return errTest
				}
				if hold {
					hold = false
					begun <- true
					<-end
				}
				return do(ctx, tx, e, m)
			}
			one, other := s.replica(routes, c.config, every), s.replica(routes, c.config, every)
			put := func(in *Inbox, id string) error {
				e := at0(created(t, "a", version, id))
				if e.ID = id; version > 0 {
					e.Version = uint64(id[0] - '0')
				}
				return in.handle(context.Background(), bus.Delivery{Events: []bus.Event{e}})
			}
			if err := errors.Join(put(one, "1"), put(one, "2")); err != nil {
				t.Fatal(err)
			}
			delete(bad, "1")
			hold = true
			c.pass(time.Minute)
			var all sync.WaitGroup
			all.Go(func() {
				r := &retrier{Inbox: one, resting: make(map[int64]time.Time)}
				if _, err := r.step(context.Background()); err != nil {
					t.Error(err)
				}
			})
			<-begun
			all.Go(func() {
				if err := put(other, "3"); err != nil {
					t.Error(err)
				}
			})
			s.wantWaiting(other)
			close(end)
			all.Wait()
			wantApplied(t, one, fmt.Sprintf("a:%d 1", version))
			delete(bad, "2")
			retry(t, one, c)
			if got := applications(t, one.cfg.DB); len(got) != 3 || got[1][len(got[1])-1] != '2' || got[2][len(got[2])-1] != '3' {
				t.Errorf("applied %v, want 1, 2, 3", got)
			}
		})
	}
}
