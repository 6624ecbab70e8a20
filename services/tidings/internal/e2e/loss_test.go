package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-dev/tidings/bus"
)

// redisKill is short, for the gate; a minute shows more: go test ./services/tidings/internal/e2e -run Killed -redis-kill 1m
var redisKill = flag.Duration("redis-kill", 4*time.Second, "how long a real Redis is killed and started again under load")

// What a history lacks stands in it, from the next event of that user on: of the versions in between, and, for it has
// listened since the first number, of those before the first that it has. Where the bus keeps everything, nothing is
// lacking.
func TestAnAuditShowsWhatItHasNotReceived(t *testing.T) {
	onBuses(t, func(t *testing.T, w wire) {
		s := emptyStack(t, w)
		s.audit.more = []string{"--gap-wait=100ms"} // events of one user come in order: who waits, waits in vain
		s.startAll(t)
		known := s.create(t, 0, 2)
		s.agree(t)
		s.audit.stop(t)
		unknown := s.create(t, 2, 3)
		for i := range 3 {
			s.rename(t, known[0], fmt.Sprintf("Renamed %d", i))
			s.rename(t, known[1], fmt.Sprintf("Renamed %d", i))
		}
		s.rename(t, unknown[0], "Renamed")
		s.audit.start(t)
		s.rename(t, known[0], "Renamed a Last Time")
		s.rename(t, unknown[0], "Renamed a Last Time")
		s.agree(t)
		s.audit.hasMissed(t, w.loses(8))
		for _, c := range []struct {
			id            string
			kept, notKept string
		}{
			{known[0], "1, 2, 3, 4, 5", "1, versions 2 to 4 not received, 5"},
			{known[1], "1, 2, 3, 4", "1"}, // nobody can tell a user of whom there is nothing more to tell
			{unknown[0], "1, 2, 3", "versions 1 to 2 not received, 3"},
		} {
			want := map[bool]string{true: c.kept, false: c.notKept}[w.keeps]
			entries, err := s.audit.history(t, c.id)
			if got := shown(entries); err != nil || got != want {
				t.Errorf("it shows %s, want %s: %v", got, want, err)
			}
		}
	})
}

func shown(entries []entry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.String())
	}
	return strings.Join(all, ", ")
}

// A real Redis is killed and started again, again and again, under load; and now and then the subscribers are cut off
// first, for a publisher that was cut off with them waits until they listen again. Every write is answered; and in the end
// each service counts, to the unit, what it has not got.
func TestARealRedisThatIsKilledUnderLoadIsCountedExactly(t *testing.T) {
	t.Parallel()
	redisKind().needReal(t)
	b := startReal(t, redisKind())
	s, admin := newStack(t, b.wire()), b.wire().admin(t)
	kills := 0
	written := s.underLoad(t, func() {
		for end := time.Now().Add(*redisKill); time.Now().Before(end); kills++ {
			if kills%2 == 0 {
				eventually(t, startTime, func() error { return admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err() })
				eventually(t, startTime, func() error { return subscribers(t, admin, s.users.topic, 3) })
			}
			b.Kill(t)
			b.Start(t)
			s.hearSomething(t)
		}
	})
	s.published(t)
	s.agree(t)
	s.reportLoss(t, written)
	t.Logf("%d kills in %v", kills, *redisKill)
}

// The connections of all subscribers are cut by the server, under load.
func TestSubscribersThatAreCutOffCountExactly(t *testing.T) {
	t.Parallel()
	redisKind().needReal(t)
	b := startReal(t, redisKind())
	s, admin := newStack(t, b.wire()), b.wire().admin(t)
	written := s.underLoad(t, func() {
		for range 10 {
			if n, err := admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Int(); err != nil || n == 0 {
				t.Errorf("CLIENT KILL cut %d connections: %v", n, err)
			}
			eventually(t, startTime, func() error { return subscribers(t, admin, s.users.topic, 3) })
		}
	})
	s.published(t)
	s.agree(t)
	s.reportLoss(t, written)
}

// A subscriber that does not read is cut off by the server when what waits for it grows too large. Nobody else notices;
// it finds out when it goes on, listens again, and counts what it has lost.
func TestASubscriberThatIsHeldUpCountsWhatItLost(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		heldUp(t, startEmbedded(t, redisKind()).wire()) // which waits for two seconds, and then cuts it off
	})
	t.Run("real", func(t *testing.T) {
		redisKind().needReal(t)
		t.Parallel()
		w := startReal(t, redisKind()).wire()
		if err := w.admin(t).ConfigSet(t.Context(), "client-output-buffer-limit", "pubsub 2mb 0 0").Err(); err != nil {
			t.Fatal(err)
		}
		heldUp(t, w)
	})
}

func heldUp(t *testing.T, w wire) {
	s, admin := newStack(t, w), w.admin(t)
	s.create(t, 0, 20)
	s.agree(t)

	s.directory.doubt()
	s.directory.process.signal(t, syscall.SIGSTOP)
	s.create(t, 20, 40) // what is in its socket it will find there
	s.drown(t, func() error { return subscribers(t, admin, s.users.topic, 2) })
	s.directory.hearing.set(deaf)
	s.create(t, 40, 60)
	s.published(t)
	s.directory.doubt()
	s.directory.process.signal(t, syscall.SIGCONT)

	s.agree(t)
	if missed := s.directory.inbox(t).Missed; missed < 20 || missed > 40 {
		t.Errorf("it has missed %d events, want 20 to 40", missed)
	}
	for _, r := range []*service{s.audit, s.mailer} {
		r.hasMissed(t, 0)
	}
	s.create(t, 60, 70)
	s.agree(t)
}

// drown publishes large events, of no user, until ask finds nothing wrong.
func (s *stack) drown(t *testing.T, ask func() error) {
	t.Helper()
	b, noise := s.open(t), bus.Event{
		Source: "/noise", Type: "noise.v1.Noise", Key: "noise", Data: slices.Repeat([]byte{0}, 200_000),
	}
	for i := range 500 {
		if ask() == nil {
			return
		}
		noise.ID = fmt.Sprint(i)
		if err := b.Publish(t.Context(), s.users.topic, noise); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal(ask())
}

// underLoad makes users, some hundred a second, while meanwhile runs, and returns how many.
func (s *stack) underLoad(t *testing.T, meanwhile func()) (written int) {
	t.Helper()
	s.doubt()
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		const burst = 8
		pace := time.NewTicker(25 * time.Millisecond)
		defer pace.Stop()
		for ; ctx.Err() == nil && !t.Failed(); <-pace.C {
			s.create(t, written, written+burst)
			written += burst
		}
	})
	defer load.Wait() // where meanwhile fails
	defer cancel()
	meanwhile()
	cancel()
	load.Wait()
	return written
}

// hearSomething waits until all readers hear again what is published from now on.
func (s *stack) hearSomething(t *testing.T) {
	t.Helper()
	given := s.outbox(t).Sent
	for _, r := range s.readers() {
		eventually(t, startTime, func() error {
			for _, heard := range r.inbox(t).Streams {
				if heard.Highest > uint64(given) {
					return nil
				}
			}
			return fmt.Errorf("%s hears nothing of what is published", r.name)
		})
	}
}

// reportLoss logs what was lost. That it is what is missing was found by agree.
func (s *stack) reportLoss(t *testing.T, written int) {
	t.Helper()
	t.Logf("%d users were written; published to nobody: %d", written, s.outbox(t).Unheard)
	for _, r := range s.readers() {
		t.Logf("%s has missed %d, and counted each", r.name, r.inbox(t).Missed)
	}
}

// admin is a client that may do anything to the server.
func (w wire) admin(t *testing.T) *goredis.Client {
	t.Helper()
	at, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(&goredis.Options{Addr: at.Host})
	t.Cleanup(func() { _ = c.Close() }) // the server goes too
	return c
}

// subscribers returns an error unless n listen to a topic.
func subscribers(t *testing.T, admin *goredis.Client, topic string, n int64) error {
	t.Helper()
	got, err := admin.PubSubNumSub(t.Context(), topic).Result()
	if err == nil && got[topic] != n {
		err = fmt.Errorf("%d subscribers, want %d", got[topic], n)
	}
	return err
}

// signal sends a signal to a process that runs.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(errors.Join(fmt.Errorf("%v of %s", s, p.name), err))
	}
}
