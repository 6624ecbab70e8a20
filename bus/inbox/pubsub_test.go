package inbox

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// pubsub is a bus without a log, in memory: who listens hears, and nothing is kept.
type pubsub struct {
	mu        sync.Mutex
	listeners []*listener
	lose      func(listener int, e *bus.Event) bool // nil loses nothing
}

// listener is a subscription, with what it has yet to hear.
type listener struct {
	topics []string
	queue  []bus.Event
	wake   chan struct{}
}

func (*pubsub) Guarantees() bus.Guarantees { return bus.Guarantees{OrderedByKey: true} }

func (*pubsub) Close(context.Context) error { return nil }

func (p *pubsub) Publish(_ context.Context, topic string, events ...bus.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		events[i].At = bus.Position{Topic: topic, Offset: -1}
		events[i].Heard = 0
		for n, l := range p.listeners {
			if !slices.Contains(l.topics, topic) || p.lose != nil && p.lose(n, &events[i]) {
				continue
			}
			events[i].Heard++
			l.queue = append(l.queue, events[i])
			poke(l.wake)
		}
	}
	return nil
}

func (p *pubsub) Subscribe(ctx context.Context, s bus.Subscription, h bus.Handler) error {
	l := &listener{topics: s.Topics, wake: make(chan struct{}, 1)}
	p.mu.Lock()
	p.listeners = append(p.listeners, l)
	p.mu.Unlock()
	defer p.leave(l)
	s.OnReady(true)
	defer s.OnReady(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		}
		for d := p.next(l, s.MaxBatch); len(d.Events)+len(d.Heartbeats) > 0; d = p.next(l, s.MaxBatch) {
			if err := h(ctx, d); ctx.Err() != nil {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

func (p *pubsub) leave(l *listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = slices.DeleteFunc(p.listeners, func(o *listener) bool { return o == l })
}

// next takes what is ready.
func (p *pubsub) next(l *listener, limit int) (d bus.Delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(limit, len(l.queue))
	d = deliveryOf(l.queue[:n])
	l.queue = l.queue[n:]
	return d
}

// deliveryOf makes a delivery of a bus without a log: heartbeats are taken out of the events.
func deliveryOf(heard []bus.Event) (d bus.Delivery) {
	for _, e := range heard {
		if h, ok := e.Heartbeat(); ok {
			d.Heartbeats = append(d.Heartbeats, h)
		} else {
			d.Events = append(d.Events, e)
		}
	}
	return d
}

// numbered makes e number seq of a numbering, as it comes from a bus without a log.
func numbered(e bus.Event, log string, seq uint64) bus.Event {
	e.SeqLog, e.Seq, e.At = log, seq, bus.Position{Topic: topic, Offset: -1}
	return e
}

// seqs makes events with these numbers, each of a key of its own.
func seqs(t testing.TB, log string, numbers ...uint64) []bus.Event {
	t.Helper()
	var events []bus.Event
	for _, n := range numbers {
		events = append(events, numbered(created(t, keyOf(log, n), 1, ""), log, n))
	}
	return events
}

// beat is a heartbeat that comes between events.
func beat(t testing.TB, log string, seq uint64) bus.Event {
	t.Helper()
	e, err := bus.Heartbeat{Source: source, SeqLog: log, Seq: seq}.Event()
	if err != nil {
		t.Fatal(err)
	}
	e.At = bus.Position{Topic: topic, Offset: -1}
	return e
}

// hear gives the inbox one delivery of a bus without a log, and wants it done.
func hear(t testing.TB, in *Inbox, events ...bus.Event) {
	t.Helper()
	if err := in.handle(t.Context(), deliveryOf(events)); err != nil {
		t.Fatal(err)
	}
}

// wantStreams compares what is known of the numberings, and their sum.
func wantStreams(t testing.TB, in *Inbox, want ...Stream) {
	t.Helper()
	s := status(t, in)
	missed := int64(0)
	for i := range want {
		want[i].Topic, want[i].Source = orDefault(want[i].Topic, topic), orDefault(want[i].Source, source)
		missed += want[i].Missed
	}
	if !slices.Equal(s.Streams, want) || s.Missed != missed {
		t.Fatalf("missed %d\ngot  %+v\nwant %+v", s.Missed, s.Streams, want)
	}
}
