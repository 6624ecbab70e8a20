package redis

import (
	"unsafe"

	"github.com/tidings-dev/tidings/bus"
)

// decode reads an event from what came on a channel, whoever published it. Where it can't, the event's Err says why,
// and Data is what came. Its key is unknown then: a message has none beside the envelope.
func decode(m message) bus.Event {
	// Nobody else has these bytes: go-redis made the string for us alone.
	data := unsafe.Slice(unsafe.StringData(m.payload), len(m.payload))
	e, err := bus.ParseEnvelope(data)
	if err != nil {
		e = bus.Event{Data: data, Err: err}
	}
	e.At = bus.Position{Topic: m.topic, Offset: -1}
	return e
}

// batch is a delivery in the making.
type batch struct {
	messages   []message
	events     []bus.Event
	heartbeats []bus.Heartbeat
}

// delivery makes a delivery of b's messages. It is valid until the next one.
func (b *batch) delivery() bus.Delivery {
	b.events, b.heartbeats = b.events[:0], b.heartbeats[:0]
	for _, m := range b.messages {
		e := decode(m)
		if beat, ok := e.Heartbeat(); ok {
			b.beat(beat)
		} else {
			b.events = append(b.events, e)
		}
	}
	return bus.Delivery{Events: b.events, Heartbeats: b.heartbeats}
}

// beat keeps of each numbering the heartbeats with the lowest number and with the highest: from the first a subscriber
// that is new counts, and up to the other.
func (b *batch) beat(newest bus.Heartbeat) {
	var known []*bus.Heartbeat // at most two, the lowest first
	for i := range b.heartbeats {
		if h := &b.heartbeats[i]; sameNumbering(*h, newest) {
			known = append(known, h)
		}
	}
	switch len(known) {
	case 0:
		b.heartbeats = append(b.heartbeats, newest)
	case 1:
		lowest := known[0]
		if newest.Seq == lowest.Seq {
			return
		}
		if newest.Seq < lowest.Seq {
			*lowest, newest = newest, *lowest
		}
		b.heartbeats = append(b.heartbeats, newest)
	default:
		known[0].Seq, known[1].Seq = min(known[0].Seq, newest.Seq), max(known[1].Seq, newest.Seq)
	}
}

// sameNumbering reports whether two heartbeats are of one numbering.
func sameNumbering(a, b bus.Heartbeat) bool {
	a.Seq = b.Seq
	return a == b
}

// reset makes b empty, without holding on to what was in it.
func (b *batch) reset() {
	clear(b.messages)
	clear(b.events)
	clear(b.heartbeats)
	b.messages = b.messages[:0]
}
