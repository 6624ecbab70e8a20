package kafka

import (
	"slices"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// part is a partition that the group has given to this member. When it is taken away and given again, that is
// another part: what is left over of the first can't be mistaken for the second.
type part struct {
	pos bus.Position // Offset is unused; Log is empty until the first answer of the resolver

	// The poller's alone.
	next     int64 // up to where it was read
	seen     int   // the epoch that its reading belongs to
	assigned bool  // librdkafka reads it

	// epoch is guarded by readAhead.mu. It grows whenever what was read of the partition so far is void.
	epoch int
}

// span is what a batch reads of one partition.
type span struct {
	part       *part
	pos        bus.Position // of the part when it was read: the poller may give it another log by now
	epoch      int
	from, next int64
}

// batch is a delivery in the making.
type batch struct {
	events []bus.Event
	raw    []*ck.Message // the records of the last events, which are still to be decoded
	spans  []span
	ranges []bus.Range // made of spans, when it is delivered
	bytes  int         // of the records; what was cut out of it still counts
}

// batchBytes is where a batch is full, however few its events: some batches are read ahead, and MaxBatch of the largest
// events would be gigabytes.
const batchBytes = 8 << 20

// full reports whether there is no room for another event.
func (b *batch) full(most int) bool { return len(b.events) >= most || b.bytes >= batchBytes }

func newBatch(most int) *batch {
	return &batch{events: make([]bus.Event, 0, min(most, bus.DefaultMaxBatch))}
}

// reset makes b empty, without holding on to what was in it.
func (b *batch) reset() {
	clear(b.events)
	clear(b.raw)
	clear(b.spans)
	b.events, b.raw, b.spans, b.ranges = b.events[:0], b.raw[:0], b.spans[:0], b.ranges[:0]
	b.bytes = 0
}

// move says that p has been read up to next.
func (b *batch) move(p *part, next int64) {
	// Records of a partition come in runs, so its span is mostly the last.
	for i := len(b.spans) - 1; i >= 0; i-- {
		if s := &b.spans[i]; s.part == p && s.epoch == p.seen {
			s.next, p.next = next, next
			return
		}
	}
	b.spans = append(b.spans, span{part: p, pos: p.pos, epoch: p.seen, from: p.next, next: next})
	p.next = next
}

// add appends a record of p.
func (b *batch) add(p *part, m *ck.Message) {
	at := p.pos
	at.Offset = int64(m.TopicPartition.Offset)
	b.events = append(b.events, bus.Event{At: at})
	b.raw = append(b.raw, m)
	b.bytes += len(m.Key) + len(m.Value)
	b.move(p, at.Offset+1)
}

// decode makes events of the records. The poller does it while the worker has enough to do, else the worker.
//
// Heartbeats are left out, for offsets say here what they say elsewhere. No relay writes them to a log, but a topic may
// hold some all the same: what was recorded elsewhere, say. Their offsets are read like others.
func (b *batch) decode() {
	left := b.events[len(b.events)-len(b.raw):]
	beats := false
	for i, m := range b.raw {
		at := left[i].At
		decode(m, &left[i])
		left[i].At = at
		beats = beats || isHeartbeat(&left[i])
	}
	clear(b.raw)
	b.raw = b.raw[:0]
	if beats {
		decoded := len(b.events) - len(left)
		kept := slices.DeleteFunc(left, func(e bus.Event) bool { return isHeartbeat(&e) })
		b.events = b.events[:decoded+len(kept)]
	}
}

func isHeartbeat(e *bus.Event) bool {
	_, is := e.Heartbeat()
	return is
}

// touches reports whether b reads any of the partitions.
func (b *batch) touches(parts []*part) bool {
	return slices.ContainsFunc(b.spans, func(s span) bool { return slices.Contains(parts, s.part) })
}

// stale reports whether a part of b is void.
func (b *batch) stale() bool {
	return slices.ContainsFunc(b.spans, span.stale)
}

// stale reports whether what was read has become void. The caller has readAhead.mu.
func (s span) stale() bool { return s.epoch != s.part.epoch }

// cut removes what is void, and reports whether anything is left.
func (b *batch) cut() bool {
	if !b.stale() {
		return len(b.spans) > 0
	}
	b.decode() // events and records go by position
	b.events = slices.DeleteFunc(b.events, func(e bus.Event) bool {
		return slices.ContainsFunc(b.spans, func(s span) bool { return s.stale() && s.holds(e.At) })
	})
	b.spans = slices.DeleteFunc(b.spans, span.stale)
	return len(b.spans) > 0
}

// holds reports whether an event is of this span.
func (s span) holds(at bus.Position) bool {
	return at.Partition == s.pos.Partition && at.Topic == s.pos.Topic && at.Offset >= s.from && at.Offset < s.next
}

// delivery shows b to a handler. It is valid until reset.
func (b *batch) delivery() bus.Delivery {
	b.decode()
	b.ranges = b.ranges[:0]
	for _, s := range b.spans {
		r := bus.Range{Position: s.pos, Next: s.next}
		r.Offset = s.from
		b.ranges = append(b.ranges, r)
	}
	slices.SortFunc(b.ranges, func(a, b bus.Range) int { return comparePositions(a.Position, b.Position) })
	return bus.Delivery{Events: b.events, Ranges: b.ranges}
}
