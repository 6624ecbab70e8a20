package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Two replicas find at the same time that nothing more is to be waited for.
func TestReplicasReleaseOnceOnPostgres(t *testing.T) {
	const keys = 30
	s, c := newService(t), newClock()
	var ins []*Inbox
	for range 3 {
		ins = append(ins, s.replica(recordAll(), every, c.config))
	}
	l := newTape(t, 1)
	for k := range keys {
		l.put(0, updated(t, fmt.Sprint("k", k), 3, ""), updated(t, fmt.Sprint("k", k), 2, ""))
	}
	l.resume(ins[0])
	l.play(ins[0], cut{0, 0, 2 * keys})
	c.pass(2 * time.Hour)
	var all sync.WaitGroup
	for _, in := range ins {
		all.Go(func() {
			_, err := in.transact(context.Background(), func(ctx context.Context, a *attempt) error { return a.releaseDue(ctx) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if st := status(t, ins[0]); st.Waiting != 0 || st.Holes != keys || st.Missing != keys || st.Versions != 3*keys {
		t.Errorf("status is %+v", st)
	}
	got := applications(t, ins[0].cfg.DB)
	for k := range keys {
		if i := slices.Index(got, fmt.Sprintf("k%d:2 ", k)); i < 0 || !slices.Contains(got[i:], fmt.Sprintf("k%d:3 ", k)) || len(got) != 2*keys {
			t.Fatalf("applied %v", got)
		}
	}
}

// What a replica holds back or releases while another one releases the same key waits for that one, and sees what it did.
func TestWhileAKeyIsReleasedTheOthersWaitOnPostgres(t *testing.T) {
	for name, other := range map[string]func(*Inbox) error{
		"a later event": func(in *Inbox) error {
			return in.handle(context.Background(), bus.Delivery{Events: []bus.Event{at0(updated(t, "a", 4, ""))}})
		},
		"a release": func(in *Inbox) error {
			_, err := in.transact(context.Background(), func(ctx context.Context, a *attempt) error { return a.releaseDue(ctx) })
			return errors.Join(err, in.handle(context.Background(), bus.Delivery{Events: []bus.Event{at0(updated(t, "a", 4, ""))}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newService(t), newClock()
			one, two := s.replica(recordAll(), every, c.config), s.replica(recordAll(), every, c.config)
			hear(t, one, at0(created(t, "a", 1, "")), at0(updated(t, "a", 3, "")))
			c.pass(2 * time.Hour)
			done := make(chan error, 1)
			_, err := one.transact(t.Context(), func(ctx context.Context, a *attempt) error {
				if err := a.releaseDue(ctx); err != nil {
					return err
				}
				go func() { done <- other(two) }()
				s.wantWaiting(two)
				return nil
			})
			if err := errors.Join(err, <-done); err != nil {
				t.Fatal(err)
			}
			wantApplied(t, one, "a:1 ", "a:3 ", "a:4 ")
			if st := status(t, one); st.Holes != 1 || st.Waiting != 0 {
				t.Errorf("status is %+v", st)
			}
		})
	}
}

// And the other way round: a release waits for a delivery that holds something back, or lets it go on.
func TestAReleaseWaitsForDeliveriesOfItsKeysOnPostgres(t *testing.T) {
	for name, tt := range map[string]struct {
		event bus.Event
		want  []string
	}{
		"a later event":    {updated(t, "a", 4, ""), []string{"a:1 ", "a:3 ", "a:4 "}},
		"the missing one":  {updated(t, "a", 2, ""), []string{"a:1 ", "a:2 ", "a:3 "}},
		"one of no matter": {updated(t, "a", 1, ""), []string{"a:1 ", "a:3 "}},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newService(t), newClock()
			one, two := s.replica(recordAll(), every, c.config), s.replica(recordAll(), every, c.config)
			hear(t, one, at0(created(t, "a", 1, "")), at0(updated(t, "a", 3, "")))
			c.pass(2 * time.Hour)
			done := make(chan error, 1)
			_, err := one.transact(t.Context(), func(ctx context.Context, a *attempt) error {
				if err := a.deliver(ctx, bus.Delivery{Events: []bus.Event{at0(tt.event)}}); err != nil {
					return err
				}
				go func() {
					_, err := two.transact(context.Background(), func(ctx context.Context, a *attempt) error { return a.releaseDue(ctx) })
					done <- err
				}()
				s.wantWaiting(two)
				return nil
			})
			if err := errors.Join(err, <-done); err != nil {
				t.Fatal(err)
			}
			wantApplied(t, one, tt.want...)
		})
	}
}

// at0 is an event as it comes from a bus without a log.
func at0(e bus.Event) bus.Event {
	e.At = bus.Position{Topic: topic, Offset: -1}
	return e
}
