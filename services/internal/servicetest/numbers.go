package servicetest

import (
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// Numbered publishes on a bus without a log what a test makes, numbered as the relay of the users service does. It is
// safe for concurrent use.
type Numbered struct {
	t     testing.TB
	bus   bus.Publisher
	topic string
	log   string

	mu  sync.Mutex
	seq uint64
}

// NewNumbered begins a numbering on a topic.
func NewNumbered(t testing.TB, b bus.Publisher, topic string) *Numbered {
	return &Numbered{t: t, bus: b, topic: topic, log: bus.SeqLogFirst + NewID()}
}

// Send publishes events.
func (n *Numbered) Send(events ...bus.Event) {
	n.t.Helper()
	PublishTo(n.t, n.bus, n.topic, n.number(events)...)
}

// Lose gives events their numbers and publishes none: what becomes of them while a service is down.
func (n *Numbered) Lose(events ...bus.Event) []bus.Event { return n.number(events) }

// Heartbeat repeats the highest number, as an owner does that has nothing to send.
func (n *Numbered) Heartbeat() {
	n.t.Helper()
	n.mu.Lock()
	h := bus.Heartbeat{Topic: n.topic, Source: "/users", SeqLog: n.log, Seq: n.seq}
	n.mu.Unlock()
	e, err := h.Event()
	if err != nil {
		n.t.Fatal(err)
	}
	PublishTo(n.t, n.bus, n.topic, e)
}

// Heard waits until a service has heard of the last number, and returns its status then. It sends heartbeats meanwhile.
func (n *Numbered) Heard(r *Running) lifecycle.Status {
	n.t.Helper()
	return r.Until("the last number", func(s lifecycle.Status) bool {
		n.Heartbeat()
		for _, at := range s.Streams {
			if at.Log == n.log && at.Seq == n.Last() {
				return s.Queued == 0 && s.Waiting == 0
			}
		}
		return false
	})
}

// Last is the last number.
func (n *Numbered) Last() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seq
}

func (n *Numbered) number(events []bus.Event) []bus.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range events {
		n.seq++
		events[i].Seq, events[i].SeqLog = n.seq, n.log
	}
	return events
}
