package redis

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// overflowPause is how often an overflow that goes on is told.
const overflowPause = time.Second

// teller calls OnReady and OnGap, one after the other, in the order in which things happened. Counts of what is
// missing are added up while a call takes its time, and while little time has passed since the last.
type teller struct {
	sub bus.Subscription

	mu      sync.Mutex
	notes   []note
	counts  []count
	ended   bool
	changed chan struct{} // holds a token when there is something to look at
}

// note is one of: readiness, the loss of the connection.
type note struct {
	ready bool
	lost  string // the reason; "" where the note is about readiness
}

// count is how many events are missing of a topic, for one reason.
type count struct {
	topic, reason string
	missed        uint64
}

func newTeller(sub bus.Subscription) *teller {
	return &teller{sub: sub, changed: make(chan struct{}, 1)}
}

// ready notes whether the subscription stands.
func (t *teller) ready(ready bool) { t.add(note{ready: ready}) }

// lost notes that the connection was lost.
func (t *teller) lost(reason string) { t.add(note{lost: reason}) }

// manyNotes is when notes that nobody has taken are put together.
const manyNotes = 64

// add notes what happened. Where there are many that nobody has taken, what is left of them is the newest loss, which
// stands for those before, and the newest readiness.
func (t *teller) add(n note) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.notes) >= manyNotes {
		isLoss := n.lost != "" // of the other kind n says nothing
		t.notes = slices.DeleteFunc(t.notes, func(old note) bool { return (old.lost != "") == isLoss })
		t.notes = slices.Delete(t.notes, 0, max(0, len(t.notes)-1))
	}
	t.notes = append(t.notes, n)
	t.wake()
}

// missed counts events that are missing.
func (t *teller) missed(topic string, n uint64, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.counts {
		if c := &t.counts[i]; c.topic == topic && c.reason == reason {
			c.missed += n
			return
		}
	}
	t.counts = append(t.counts, count{topic, reason, n})
	t.wake()
}

// end lets run return once it has told all.
func (t *teller) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.wake()
}

func (t *teller) wake() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// run tells, until end.
func (t *teller) run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	pausing := false
	for {
		select {
		case <-t.changed:
		case <-pause.C:
			pausing = false
		}
		notes, counts, ended := t.take(pausing)
		t.tell(ctx, notes, counts)
		if ended {
			return
		}
		if len(counts) > 0 {
			pausing = true
			pause.Reset(overflowPause)
		}
	}
}

// take returns what is to be told now. Counts wait for the end of a pause, and for nothing at the end.
func (t *teller) take(pausing bool) (notes []note, counts []count, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	notes, t.notes = t.notes, nil
	if !pausing || t.ended {
		counts, t.counts = t.counts, nil
	}
	return notes, counts, t.ended
}

func (t *teller) tell(ctx context.Context, notes []note, counts []count) {
	for _, n := range notes {
		if n.lost == "" {
			t.tellReady(n.ready)
			continue
		}
		for _, topic := range t.sub.Topics {
			t.tellGap(ctx, bus.Gap{At: bus.Position{Topic: topic, Offset: -1}, Reason: n.lost})
		}
	}
	for _, c := range counts {
		t.tellGap(ctx, bus.Gap{At: bus.Position{Topic: c.topic, Offset: -1}, Missed: c.missed, Reason: c.reason})
	}
}

func (t *teller) tellReady(ready bool) {
	if t.sub.OnReady != nil {
		t.sub.OnReady(ready)
	}
}

func (t *teller) tellGap(ctx context.Context, g bus.Gap) {
	if t.sub.OnGap != nil {
		t.sub.OnGap(ctx, g)
	}
}
