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

// beat keeps only the newest heartbeat of each numbering.
func (b *batch) beat(newest bus.Heartbeat) {
	for i := range b.heartbeats {
		if h := &b.heartbeats[i]; h.Topic == newest.Topic && h.Source == newest.Source && h.SeqLog == newest.SeqLog {
			h.Seq = max(h.Seq, newest.Seq)
			return
		}
	}
	b.heartbeats = append(b.heartbeats, newest)
}

// reset makes b empty, without holding on to what was in it.
func (b *batch) reset() {
	clear(b.messages)
	clear(b.events)
	clear(b.heartbeats)
	b.messages = b.messages[:0]
}
