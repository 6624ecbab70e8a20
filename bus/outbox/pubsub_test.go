package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// pubsub is a bus without a log, in memory. It keeps what was published for the test to look at.
type pubsub struct {
	bus.Bus // what every backend has around it
	air     *air
}

func newPubsub() *pubsub {
	a := &air{listening: 1}
	return &pubsub{bus.Wrap(a), a}
}

// air is the backend itself.
type air struct {
	mu        sync.Mutex
	published []bus.Event // heartbeats, and what was stored although it failed, too
	times     []time.Time // when
	listening int
	fail      func(topic string, e bus.Event) error
	durable   bool // says what isn't so, to be measured against
	discard   bool // keeps nothing
	down      bool // for a test that makes it hang
	cut       bool // what follows a refused event shares its fate, as when a connection breaks
	closed    bool
	tried     int // events, whatever became of them
}

func (a *air) Guarantees() bus.Guarantees {
	return bus.Guarantees{OrderedByKey: true, Durable: a.durable}
}

func (a *air) Close(context.Context) error {
	a.set(func() { a.closed = true })
	return nil
}

func (a *air) Subscribe(ctx context.Context, _ bus.Subscription, _ bus.Handler) error {
	<-ctx.Done()
	return nil
}

// set changes the bus.
func (a *air) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// Publish takes each event as a backend would send it. An error of fail refuses it and what follows of its key, and
// takes it nonetheless where it wraps bustest.ErrStored.
func (a *air) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return bus.ErrClosed
	}
	a.tried += len(events)
	failed, stuck := make(map[int]error), make(map[string]error)
	for i := range events {
		e := &events[i]
		of := e.Key
		if a.cut {
			of = ""
		}
		err := stuck[of]
		if a.fail != nil && err == nil {
			err = a.fail(topic, *e)
		}
		if errors.Is(err, bustest.ErrStored) && (a.cut || stuck[of] == nil) {
			a.take(topic, *e)
		}
		if err != nil {
			stuck[of], failed[i] = err, err
			continue
		}
		a.take(topic, *e)
		e.At, e.Heard = bus.Position{Topic: topic, Offset: -1}, a.listening
	}
	if len(failed) > 0 {
		return &bus.PublishError{Topic: topic, Failed: failed}
	}
	return nil
}

// take keeps what a subscriber would read.
func (a *air) take(topic string, e bus.Event) {
	if a.discard {
		return
	}
	read, err := bus.ParseEnvelope(e.AppendEnvelope(nil))
	if err != nil {
		panic(err)
	}
	read.At = bus.Position{Topic: topic, Offset: -1}
	a.published, a.times = append(a.published, read), append(a.times, time.Now())
}

// all is what was published.
func (p *pubsub) all() []bus.Event {
	p.air.mu.Lock()
	defer p.air.mu.Unlock()
	return slices.Clone(p.air.published)
}

// events are what was published but for heartbeats.
func (p *pubsub) events() []bus.Event {
	return slices.DeleteFunc(p.all(), func(e bus.Event) bool { return e.Type == bus.TypeHeartbeat })
}

// beats are the heartbeats of a topic, each as when it came and the number that it told of: "5s /things #12".
func (p *pubsub) beats(topic string, since time.Time) (all []string) {
	p.air.mu.Lock()
	defer p.air.mu.Unlock()
	for i, e := range p.air.published {
		if h, ok := e.Heartbeat(); ok && h.Topic == topic {
			all = append(all, fmt.Sprintf("%v %s #%d", p.air.times[i].Sub(since), h.Source, h.Seq))
		}
	}
	return all
}

// tried is how many events were given to the bus, whatever became of them.
func (p *pubsub) tried() (n int) {
	p.air.set(func() { n = p.air.tried })
	return n
}

// refuse makes fail decide from now on.
func (p *pubsub) refuse(fail func(topic string, e bus.Event) error) {
	p.air.set(func() { p.air.fail = fail })
}

// listeners says how many hear from now on.
func (p *pubsub) listeners(n int) {
	p.air.set(func() { p.air.listening = n })
}

// ids are the events as "key-version #number".
func ids(events []bus.Event) (all []string) {
	for _, e := range events {
		all = append(all, fmt.Sprintf("%s #%d", e.ID, e.Seq))
	}
	return all
}

// numbering is what was seen of one stream.
type numbering struct {
	log     string
	byID    map[string]uint64
	bySeq   map[uint64]string
	highest uint64 // such that none is missing below
	early   int    // numbers that came for the first time before a lower one did
	beat    uint64 // the highest heartbeat
	beats   int
}

// take adds an event, and returns what is wrong with it.
func (n *numbering) take(e bus.Event) error {
	if n.log == "" {
		n.log = e.SeqLog
	}
	if e.SeqLog != n.log || e.SeqLog == "" {
		return fmt.Errorf("%s is of the numbering %q, after %q", e.ID, e.SeqLog, n.log)
	}
	if h, ok := e.Heartbeat(); ok {
		n.beats++
		n.beat = max(n.beat, h.Seq)
		if h.Seq > n.highest {
			return fmt.Errorf("a heartbeat says %d, and %d was not published", h.Seq, n.highest+1)
		}
		return nil
	}
	if was, seen := n.byID[e.ID]; seen && was != e.Seq || e.Seq == 0 {
		return fmt.Errorf("%s has the number %d, and had %d", e.ID, e.Seq, was)
	}
	if was, seen := n.bySeq[e.Seq]; seen && was != e.ID {
		return fmt.Errorf("%s has the number %d, which is that of %s", e.ID, e.Seq, was)
	}
	if e.Seq > n.highest+1 && n.bySeq[e.Seq] == "" {
		n.early++
	}
	n.byID[e.ID], n.bySeq[e.Seq] = e.Seq, e.ID
	for n.bySeq[n.highest+1] != "" {
		n.highest++
	}
	return nil
}

// numberings checks what was published: in each stream, each number belongs to one event and each event has one, none
// is missing, and no heartbeat is ahead of what it counts.
func numberings(t testing.TB, events []bus.Event) map[streamKey]*numbering {
	t.Helper()
	all := make(map[streamKey]*numbering)
	for _, e := range events {
		k := streamKey{e.At.Topic, e.Source}
		n := all[k]
		if n == nil {
			n = &numbering{byID: make(map[string]uint64), bySeq: make(map[uint64]string)}
			all[k] = n
		}
		if err := n.take(e); err != nil {
			t.Errorf("%v: %v", k, err)
		}
	}
	for k, n := range all {
		if int(n.highest) != len(n.byID) {
			t.Errorf("%v: %d events, and the numbers are without a hole up to %d", k, len(n.byID), n.highest)
		}
	}
	return all
}
