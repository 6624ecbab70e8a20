package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// inBubble runs a test on a clock that moves when all wait, with the times that a relay really has.
func inBubble(t *testing.T, test func(t *testing.T, o *Outbox, p *pubsub), opts ...Option) {
	t.Helper()
	file := newFile(t)
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(t, openDB(t, file), opts...)
		o.pace = defaultPace()
		test(t, o, newPubsub())
	})
}

// beaten checks the heartbeats of things since a time.
func beaten(t *testing.T, p *pubsub, since time.Time, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := p.beats(topic, since); !slices.Equal(got, want) {
		t.Errorf("after %v heartbeats %q, want %q", time.Since(since), got, want)
	}
}

// isBeat picks the heartbeats.
func isBeat(e bus.Event) bool { return e.Type == bus.TypeHeartbeat }

func TestHeartbeatAtTheStartAndWhileIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		o.pace.look = 3 * time.Second // so that it is not a look that finds the moment
		start := time.Now()
		relaying(t, o, p)
		beaten(t, p, start, "0s /things #0")
		time.Sleep(2 * time.Second)
		add(t, o, event("a", 1), event("b", 1))
		time.Sleep(4999 * time.Millisecond)
		beaten(t, p, start, "0s /things #0")
		time.Sleep(time.Millisecond)
		beaten(t, p, start, "0s /things #0", "7s /things #2")
		time.Sleep(10 * time.Second)
		beaten(t, p, start, "0s /things #0", "7s /things #2", "12s /things #2", "17s /things #2")
		numberings(t, p.all())
	}, WithStream(topic, "/things"))
}

func TestNoHeartbeatWhileEventsCome(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		add(t, o, event("a", 1)) // so that the relay isn't idle when it begins
		start := time.Now()
		relaying(t, o, p)
		for v := 2; v <= 20; v++ {
			time.Sleep(3 * time.Second)
			add(t, o, event("a", v), from("/others", "a", v))
		}
		beaten(t, p, start)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := p.beats(topic, start); !slices.Equal(got, []string{"1m2s /others #19", "1m2s /things #20"}) {
			t.Errorf("heartbeats %q", got)
		}
	})
}

func TestEachStreamHasItsOwnHeartbeat(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		start := time.Now()
		relaying(t, o, p)
		for v := 1; v <= 4; v++ { // one is busy, and the other is told of all the same
			time.Sleep(3 * time.Second)
			add(t, o, event("a", v))
		}
		beaten(t, p, start, "0s /others #0", "0s /things #0", "5s /others #0", "10s /others #0")
		if got := p.beats("elsewhere", start); len(got) != 3 {
			t.Errorf("heartbeats elsewhere %q", got)
		}
	}, WithStream(topic, "/things"), WithStream(topic, "/others"), WithStream("elsewhere", "/things"))
}

func TestNoHeartbeatWhileAnEventIsHeldBack(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		p.refuse(func(_ string, e bus.Event) error {
			if isDead(e.Key) {
				return errors.New("no")
			}
			return nil
		})
		add(t, o, event("dead", 1), event("a", 1))
		start := time.Now()
		relaying(t, o, p)
		time.Sleep(time.Minute)
		beaten(t, p, start)
		p.refuse(nil)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := p.beats(topic, start); len(got) == 0 || !strings.HasSuffix(got[0], "#2") {
			t.Errorf("heartbeats %q", got)
		}
		numberings(t, p.all())
	})
}

func TestHeartbeatThatFailsIsTriedAgainWithoutAWord(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		tried := 0
		p.refuse(func(_ string, e bus.Event) error { // called under a lock
			tried++
			return errors.New("no")
		})
		start := time.Now()
		relaying(t, o, p)
		time.Sleep(58 * time.Second)
		beaten(t, p, start)
		p.refuse(nil)
		time.Sleep(2 * time.Second)
		beaten(t, p, start, "1m0s /things #0")
		if text := logged(o); tried != 12 || strings.Contains(text, "heartbeat") || strings.Contains(text, "WARN") {
			t.Errorf("%d tries in 58 s; logged:\n%s", tried, text)
		}
	}, WithStream(topic, "/things"))
}

func TestHeartbeatThatHangsIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		start := time.Now()
		relaying(t, o, &hanging{pubsub: p, hangs: isBeat})
		time.Sleep(time.Second)
		add(t, o, event("a", 1))
		time.Sleep(o.pace.partly)
		synctest.Wait()
		if got := ids(p.events()); !slices.Equal(got, []string{"a-1 #1"}) {
			t.Errorf("after %v published %q", time.Since(start), got)
		}
	}, WithStream(topic, "/things"))
}

// hanging is a bus on which some events wait until their context ends.
type hanging struct {
	*pubsub
	hangs func(e bus.Event) bool
}

func (h *hanging) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	if slices.ContainsFunc(events, h.hangs) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return h.pubsub.Publish(ctx, topic, events...)
}

func TestOnlyTheLeaderSendsHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		start := time.Now()
		stop := relaying(t, o, p)
		synctest.Wait()
		second := newOutbox(t, o.db)
		second.pace = defaultPace()
		relaying(t, second, p)
		time.Sleep(6 * time.Second)
		beaten(t, p, start, "0s /things #0", "5s /things #0")
		stop()
		time.Sleep(200 * time.Millisecond) // the other begins to lead, and says so at once
		synctest.Wait()
		if got := p.beats(topic, start); len(got) != 3 || !strings.HasPrefix(got[2], "6.") {
			t.Errorf("heartbeats %q", got)
		}
	}, WithStream(topic, "/things"))
}

func TestHeartbeatWaitsForWhatAnotherRelayHasNumbered(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t))), newPubsub()
	add(t, o, event("a", 1))
	p.refuse(func(_ string, e bus.Event) error {
		if !isBeat(e) {
			return errors.New("no")
		}
		return nil
	})
	r, ctx := leading(t, o, p)
	pass(t, ctx, r)
	r.topics = newHeldTopics(o.pace) // it knows of nothing that is held back, as one that had just begun
	beatNow(t, ctx, r)
	if got := p.all(); len(got) > 0 {
		t.Fatalf("a heartbeat overtakes what it counts: %+v", got)
	}
	p.refuse(nil)
	pass(t, ctx, r)
	rob(t, o, "thief")
	beatNow(t, ctx, r)
	if got := p.all(); len(got) != 1 || isBeat(got[0]) {
		t.Errorf("a relay without its lease: %+v", got)
	}
	rob(t, o, r.holder)
	beatNow(t, ctx, r)
	if got := p.all(); len(got) != 2 || !isBeat(got[1]) || got[1].Seq != 1 {
		t.Errorf("published %+v", got)
	}
}

// beatNow is beat at a moment when it is due.
func beatNow(t *testing.T, ctx context.Context, r *relay) {
	t.Helper()
	r.beats = newBeats(r.pace.beat)
	if err := r.beat(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestIdleRelayNoticesThatItsBusIsClosed(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t)), WithStream(topic, "/things")), newPubsub()
	o.pace.beat = 20 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- o.Relay(t.Context(), p) }()
	eventually(t, "a heartbeat", func() bool { return len(p.all()) > 0 })
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, bus.ErrClosed) {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience):
		t.Error("the relay goes on")
	}
}

func TestHeartbeatsSurviveAFaultOfTheDatabase(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t)), WithStream(topic, "/things")), newPubsub()
	o.pace.beat = 10 * time.Millisecond
	rename(t, o, "tidings_outbox_stream", "gone")
	stop := relaying(t, o, p)
	eventually(t, "a relay", func() bool { return holder(t, o) != "" })
	rename(t, o, "gone", "tidings_outbox_stream")
	eventually(t, "a heartbeat", func() bool { return len(p.all()) > 0 })
	stop()
}

func TestLookingForHeartbeatsIsCheap(t *testing.T) {
	o := newOutbox(t, openDB(t, newFile(t)))
	got := fmt.Sprint(plan(t, o.db, settledQuery, ""))
	if !strings.Contains(got, "SCAN u") || !strings.Contains(got, "SEARCH s USING INTEGER PRIMARY KEY") {
		t.Errorf("plan %s", got)
	}
}
