package outbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// errNoPerm is the answer of a server that refuses a topic for good.
var errNoPerm = errors.New("NOPERM")

// forbid refuses all of one topic.
func (p *pubsub) forbid(forbidden string) {
	p.refuse(func(topic string, _ bus.Event) error {
		if topic == forbidden {
			return errNoPerm
		}
		return nil
	})
}

// addKeys adds version v of many keys.
func addKeys(t *testing.T, o *Outbox, topic string, v int, keys ...string) {
	t.Helper()
	events := make([]bus.Event, len(keys))
	for i, key := range keys {
		events[i] = event(key, v)
	}
	if err := addTo(t.Context(), o, topic, events...); err != nil {
		t.Fatal(err)
	}
}

// inSequence checks that the events of a topic came as 1, 2, 3 … up to want.
func inSequence(t *testing.T, p *pubsub, topic string, want int) {
	t.Helper()
	last := uint64(0)
	for _, e := range p.events() {
		if e.At.Topic != topic {
			continue
		}
		if e.Seq != last+1 {
			t.Fatalf("%s: number %d after %d", topic, e.Seq, last)
		}
		last = e.Seq
	}
	if int(last) != want {
		t.Errorf("%s: %d events came, want %d", topic, last, want)
	}
}

func TestNumbersLeaveInOrderAfterALongOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		o.pace.batch = 100
		addKeys(t, o, topic, 1, keys("a", 250)...)
		relaying(t, o, &hanging{pubsub: p, hangs: func(bus.Event) bool { return p.down() }})
		p.setDown(true)
		addKeys(t, o, topic, 1, keys("b", 250)...)
		time.Sleep(25 * time.Second)
		addKeys(t, o, topic, 2, keys("a", 250)...)
		p.setDown(false)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		inSequence(t, p, topic, 750)
		numberings(t, p.all())
	})
}

func TestForbiddenTopicHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		o.pace.batch, o.pace.maxSkipped, o.pace.maxHeld = 20, 50, 10
		p.forbid("forbidden")
		addKeys(t, o, "forbidden", 1, keys("x", 300)...) // many batches stand in front
		addKeys(t, o, topic, 1, keys("a", 50)...)
		relaying(t, o, p)
		synctest.Wait()
		inSequence(t, p, topic, 50)
		for v := 2; v <= 100; v++ {
			time.Sleep(370 * time.Millisecond) // before, in and after trials
			add(t, o, event("a0", v))
			synctest.Wait()
			inSequence(t, p, topic, 49+v)
		}
		p.refuse(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		inSequence(t, p, "forbidden", 300)
		if text := logged(o); !strings.Contains(text, "the topic gets through again") {
			t.Error("nothing says that all is well again")
		}
	})
}

func TestForbiddenTopicIsTriedSeldom(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		o.pace.batch = 20
		p.forbid("forbidden")
		addKeys(t, o, "forbidden", 1, keys("x", 300)...)
		relaying(t, o, p)
		time.Sleep(time.Minute)
		if s := stream(t, o, "forbidden", "/things"); s.Seq != 20 {
			t.Errorf("%d numbers were given out for a batch of 20", s.Seq)
		}
		trials := strings.Count(logged(o), "their topic is held back")
		if trials < 10 || trials > 40 || p.tried() != 20*trials {
			t.Errorf("%d trials, %d events tried in a minute", trials, p.tried())
		}
	})
}

func TestForbiddenTopicSilencesNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		p.forbid("forbidden")
		addKeys(t, o, "forbidden", 1, "x")
		start := time.Now()
		relaying(t, o, p)
		time.Sleep(time.Second)
		add(t, o, event("a", 1))
		time.Sleep(11 * time.Second)
		beaten(t, p, start, "0s /things #0", "6s /things #1", "11s /things #1")
		p.refuse(nil)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := p.beats("forbidden", start); len(got) == 0 || !strings.HasSuffix(got[0], "#1") {
			t.Errorf("heartbeats of what was forbidden: %q", got)
		}
		numberings(t, p.all())
	}, WithStream(topic, "/things"))
}

func TestFirstHeartbeatAfterAnOutageIsInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		p.forbid(topic)
		add(t, o, event("a", 1))
		start := time.Now()
		relaying(t, o, p)
		time.Sleep(63 * time.Second)
		beaten(t, p, start)
		p.refuse(nil)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		var sent time.Time
		p.air.set(func() { sent = p.air.times[0] })
		if got := p.beats(topic, sent); len(got) == 0 || got[0] != "5s /things #1" {
			t.Errorf("heartbeats since the event was sent %q", got)
		}
	})
}

func TestTopicThatIsPartlyRefusedIsHeldAsAWhole(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t))), newPubsub()
	p.air.cut = true
	r, ctx := leading(t, o, p)
	p.refuse(func(topic string, e bus.Event) error {
		if isDead(e.Key) {
			return errors.New("the connection broke")
		}
		return nil
	})
	add(t, o, event("a", 1), event("dead", 1), event("b", 1))
	pass(t, ctx, r)
	if s := status(t, o); s.Pending != 2 || !r.topics.holds(topic) || !slices.Equal(r.topics.names(), []string{topic}) {
		t.Errorf("%+v, held back %q", s, r.topics.names())
	}
	add(t, o, event("a", 2))
	p.refuse(nil)
	r.topics.topics[topic].due = time.Time{}
	pass(t, ctx, r)
	want := []string{"a-1 #1", "dead-1 #2", "b-1 #3", "a-2 #4"}
	if got := ids(p.events()); !slices.Equal(got, want) || len(r.topics.topics) > 0 {
		t.Errorf("published %q, want %q; held back %q", got, want, r.topics.names())
	}
}

func TestTopicsAreTriedAgainEachByItself(t *testing.T) {
	p := defaultPace()
	h := newHeldTopics(p)
	now := time.Now()
	var last time.Duration
	for range 12 {
		last = h.hold("forbidden", now, false)
		now = now.Add(last)
		h.begin(now)
	}
	if last < p.lastDelay/2 || last > 2*p.lastDelay || h.holds("forbidden") || h.patience("forbidden") != p.away {
		t.Errorf("after %v it is held: %v", last, h.holds("forbidden"))
	}
	if _, some := h.next(now); some {
		t.Error("a topic that was let go is waited for")
	}
	h.hold("forbidden", now, false)
	if h.patience(topic) != p.patience || h.holds(topic) {
		t.Error("another topic is affected")
	}
	delay := h.hold(topic, now, false)
	if left, some := h.next(now); delay > 2*p.firstDelay || !some || left != delay {
		t.Errorf("another topic waits for %v, the next one for %v, %v", delay, left, some)
	}
	h.begin(now.Add(delay))
	if h.holds(topic) || !h.holds("forbidden") {
		t.Error("topics are let go together")
	}
	if d := h.hold("forbidden", now, true); d > 2*p.firstDelay {
		t.Errorf("a topic of which some got through waits for %v", d)
	}
	if !h.release(topic) || h.release(topic) || h.patience(topic) != p.patience {
		t.Error("a topic that gets through is still known")
	}
}

func TestGoingPastHeldTopicsIsCheap(t *testing.T) {
	o := newOutbox(t, openDB(t, newFile(t)))
	for v := 1; v <= 30; v++ {
		for _, topic := range []string{"one", "two", "three"} {
			if err := addTo(t.Context(), o, topic, event("a", v)); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.pace.batch = 10
	r, ctx := leading(t, o, newPubsub())
	b, err := r.read(ctx, 0, 90, []string{"one", "three"})
	if err != nil || len(b.events) != 10 || !b.full || slices.ContainsFunc(b.topics, func(t string) bool { return t != "two" }) {
		t.Errorf("%v, read %d events of %q", err, len(b.events), b.topics)
	}
	query, args := readWithout(0, 90, []string{"one", "three"}, 10)
	got := fmt.Sprint(plan(t, o.db, query, args...))
	if !strings.Contains(got, "SEARCH u USING INTEGER PRIMARY KEY") || !strings.Contains(got, "SEARCH o USING INTEGER PRIMARY KEY") {
		t.Errorf("plan %s", got)
	}
}

func TestStoppingIsNotLoggedAsAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		stop := relaying(t, o, &hanging{pubsub: p, hangs: func(bus.Event) bool { return true }})
		add(t, o, event("a", 1))
		synctest.Wait()
		stop()
		if text := logged(o); strings.Contains(text, "could not be published") {
			t.Errorf("logged:\n%s", text)
		}
	})
}

// setDown makes a hanging bus hang, or go on.
func (p *pubsub) setDown(down bool) { p.air.set(func() { p.air.down = down }) }

func (p *pubsub) down() (down bool) {
	p.air.set(func() { down = p.air.down })
	return down
}
