package service_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// listen subscribes to a topic until the test ends, and returns once it stands; what comes is sent to the channels.
func listen(t *testing.T, b bus.Bus, topic string) (events chan bus.Event, beats chan bus.Heartbeat) {
	t.Helper()
	events, beats = make(chan bus.Event, 1000), make(chan bus.Heartbeat, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan bool, 9), make(chan error, 1)
	go func() {
		ended <- b.Subscribe(ctx, bus.Subscription{Group: "test", Topics: []string{topic}, OnReady: func(is bool) { ready <- is }},
			func(_ context.Context, d bus.Delivery) error {
				for _, e := range d.Events {
					events <- e
				}
				for _, h := range d.Heartbeats {
					beats <- h
				}
				return nil
			})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if !next(t, ready, "the subscription") {
		t.Fatal("the subscription is away")
	}
	return events, beats
}

// next waits for the next of what is sent.
func next[T any](t *testing.T, from chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(servicetest.Soon):
		t.Fatalf("no %s came", what)
	}
	return got
}

// The one who listens from the start gets every event with its number; what nobody hears is counted, and is gone.
func TestOnRedisEventsAreNumberedAndThoseThatNobodyHearsAreCounted(t *testing.T) {
	t.Parallel() // it waits for a heartbeat
	cfg := newConfig(t)
	b := servicetest.OnRedis(t, &cfg.Common)
	r := start(t, cfg, backends.Open)
	const unheard = 20
	for i := range unheard {
		r.create(fmt.Sprintf("%d@example.org", i), "A")
	}
	s := r.Until("everything sent, to nobody", func(s lifecycle.Status) bool {
		return s.Outbox.Unsent == 0 && s.Outbox.Unheard == unheard
	})
	if s.KeepsLog || s.Seq != unheard || len(s.Streams) != 1 || s.Streams[0].Source != "/users" || s.Missed != 0 {
		t.Errorf("status %+v; want number %d of one stream", s, unheard)
	}
	events, beats := listen(t, b, cfg.Topic)
	if h := next(t, beats, "heartbeat"); h.Seq != unheard || h.SeqLog != s.Streams[0].Log {
		t.Errorf("heartbeat %+v; want number %d of %s", h, unheard, s.Streams[0].Log)
	}
	u := r.create("ada@example.org", "Ada")
	r.do("DELETE", path(u), "")
	for i := range 2 {
		if e := next(t, events, "event"); e.Key != u.GetId() || e.Version != uint64(i)+1 || e.Seq != uint64(unheard+i)+1 || e.SeqLog != s.Streams[0].Log {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	r.Until("no more of them", func(s lifecycle.Status) bool {
		return s.Outbox.Unsent == 0 && s.Seq == unheard+2 && s.Outbox.Unheard == unheard
	})
}

// Before its first event an owner says that there was none, so that who listens knows of the first ones that it misses.
func TestOnRedisAnOwnerTellsThatNothingHasHappenedYet(t *testing.T) {
	cfg := newConfig(t)
	b := servicetest.OnRedis(t, &cfg.Common)
	_, beats := listen(t, b, cfg.Topic)
	r := start(t, cfg, backends.Open)
	if h := next(t, beats, "heartbeat"); h.Seq != 0 || !strings.HasPrefix(h.SeqLog, bus.SeqLogFirst) || h.Source != "/users" {
		t.Errorf("heartbeat %+v, want number 0 of the first numbering", h)
	}
	if s := r.Until("its stream", func(s lifecycle.Status) bool { return len(s.Streams) == 1 }); s.Seq != 0 {
		t.Errorf("status %+v", s)
	}
}

// Nobody can be asked how a bus without a log is, so that it takes nothing is what is noticed: also by an owner that has
// nothing to send, which repeats its last number.
func TestAWriteIsAnsweredAndTheBusTurnsWhileRedisIsAway(t *testing.T) {
	servicetest.SQLiteOnly(t, "it is about the bus, and takes its time")
	t.Parallel() // it waits until the bus has taken nothing for long enough
	cfg := newConfig(t)
	cfg.Bus = "redis://127.0.0.1:1/0"
	r := start(t, cfg, backends.Open)
	r.health(map[string]bool{"": true, "bus": false})
	if s := r.Until("the reason", func(s lifecycle.Status) bool { return s.BusError != "" }); s.Bus || !strings.Contains(s.BusError, "redis at 127.0.0.1:1: ") {
		t.Errorf("status %+v", s)
	}
	if a := r.do("POST", "/v1/users", `{"email":"ada@example.org","name":"Ada"}`); a.status != http.StatusCreated {
		t.Errorf("POST answers %+v", a)
	}
	r.health(map[string]bool{"": true, "users.v1.UserService": true, "bus": false})
	if s := r.Until("the event unsent", func(s lifecycle.Status) bool { return s.Outbox.Unsent == 1 }); s.Bus {
		t.Errorf("status %+v", s)
	}
}
