package bus

import (
	"fmt"

	"github.com/google/uuid"
)

// TypeHeartbeat is the Type of the events that carry a [Heartbeat].
const TypeHeartbeat = "tidings.bus.v1.Heartbeat"

// SeqLogFirst is what the id of a numbering begins with where its owner knows that it is the first of its source: nothing
// of the source went out before it or beside it, so that each key's version 1 has a number in it. Any other numbering may
// be younger than the keys that it tells of. The outbox makes such ids (outbox.WithNewStream), the inbox goes by them.
const SeqLogFirst = "first."

// Heartbeat says how far a source has numbered its events on a topic, so that a subscriber learns of the last ones
// that it missed although none follows them. On a bus without a log the outbox's relay repeats it while there is
// nothing to send, and it comes in Delivery.Heartbeats, never among the events.
type Heartbeat struct {
	Topic  string
	Source string
	SeqLog string // see Event.SeqLog
	Seq    uint64 // the highest number that was given out; 0 before the first
}

// Event is the event that carries h, to be published to h.Topic.
func (h Heartbeat) Event() (Event, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Event{}, fmt.Errorf("bus: heartbeat of %s: %w", h.Source, err)
	}
	return Event{ID: id.String(), Source: h.Source, Type: TypeHeartbeat, Key: h.Source, Seq: h.Seq, SeqLog: h.SeqLog}, nil
}

// Heartbeat returns what e carries; ok is false where e is an event like others. No handler is given
// such an event: a backend without a log takes it out of what it delivers, into Delivery.Heartbeats, and bus/kafka
// leaves it out.
func (e *Event) Heartbeat() (h Heartbeat, ok bool) {
	if e.Type != TypeHeartbeat || e.Err != nil {
		return Heartbeat{}, false
	}
	return Heartbeat{Topic: e.At.Topic, Source: e.Source, SeqLog: e.SeqLog, Seq: e.Seq}, true
}
