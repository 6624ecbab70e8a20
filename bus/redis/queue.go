package redis

import (
	"strings"
	"sync"

	"github.com/tidings-dev/tidings/bus"
)

// message is what came on a channel.
type message struct{ topic, payload string }

// messageBytes is what a message costs beside its payload: its header here, and the event that it becomes.
const messageBytes = 256

func (m message) size() int { return len(m.payload) + messageBytes }

// queue is between the reader of a subscription, who never waits, and its worker, who may take for ever: when limit
// bytes are held the oldest messages make room for the newest, and are counted.
type queue struct {
	limit int
	// dropped hears of each event that is given up, and of whether that was for want of room. The lock is held.
	dropped func(topic string, full bool)

	mu     sync.Mutex
	filled chan struct{} // holds a token when there may be something to take
	items  []message
	head   int // of what is left in items
	bytes  int
	closed bool
	// beats are heartbeats that were dropped for want of room: of each numbering the lowest, for counting begins there, and
	// the highest, which says how far it goes, in this order.
	beats []keptBeat
}

// keptBeat is a heartbeat, and the message that it came in.
type keptBeat struct {
	bus.Heartbeat
	message
}

// maxBeats bounds the heartbeats that are kept; more than this come only from somebody who makes numberings up.
const maxBeats = 1000

func newQueue(limit int, dropped func(topic string, full bool)) *queue {
	return &queue{limit: limit, dropped: dropped, filled: make(chan struct{}, 1)}
}

// push adds messages, in order. One that is larger than the limit is held alone.
func (q *queue) push(came []message) {
	if len(came) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range came {
		for q.bytes+m.size() > q.limit && q.head < len(q.items) {
			q.drop(true)
		}
		if q.head > 0 && len(q.items) == cap(q.items) {
			q.shift()
		}
		q.items = append(q.items, m)
		q.bytes += m.size()
	}
	q.wake()
}

// drop gives up the oldest message.
func (q *queue) drop(full bool) {
	old := q.items[q.head]
	q.items[q.head] = message{}
	q.head++
	q.bytes -= old.size()
	switch beat, ok := heartbeat(old); {
	case !ok:
		q.dropped(old.topic, full)
	case full:
		q.keep(keptBeat{beat, old})
	}
}

// keep keeps a heartbeat, if it is the lowest of its numbering or the highest.
func (q *queue) keep(beat keptBeat) {
	var known []*keptBeat // at most two, the lowest first
	for i := range q.beats {
		if k := &q.beats[i]; sameNumbering(k.Heartbeat, beat.Heartbeat) {
			known = append(known, k)
		}
	}
	switch {
	case len(known) == 0:
	case beat.Seq < known[0].Seq:
		beat, *known[0] = *known[0], beat // what was the lowest may be the highest
		if len(known) > 1 {
			return
		}
	case beat.Seq == known[0].Seq:
		return
	case len(known) > 1:
		if beat.Seq > known[1].Seq {
			*known[1] = beat
		}
		return
	}
	if len(q.beats) < maxBeats {
		q.beats = append(q.beats, beat)
	}
}

// shift uses the room of what was taken, unless that is so little that moving the rest would cost more.
func (q *queue) shift() {
	if q.head < len(q.items)/2 {
		return
	}
	n := copy(q.items, q.items[q.head:])
	clear(q.items[n:])
	q.items, q.head = q.items[:n], 0
}

// wake lets the worker look.
func (q *queue) wake() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take moves at most n messages to the end of into, behind the heartbeats that were kept. What is left keeps filled full.
func (q *queue) take(into []message, n int) []message {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range q.beats {
		into = append(into, k.message)
	}
	q.beats = nil
	end := min(len(q.items), q.head+n)
	for _, m := range q.items[q.head:end] {
		q.bytes -= m.size()
	}
	into = append(into, q.items[q.head:end]...)
	clear(q.items[q.head:end])
	if q.head = end; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	if q.head < len(q.items) || q.closed {
		q.wake()
	}
	return into
}

// close says that nothing more will come; what is held can still be taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

// over reports whether there is nothing left and nothing to come.
func (q *queue) over() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && q.head == len(q.items) && len(q.beats) == 0
}

// discard gives up all that is held.
func (q *queue) discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head < len(q.items) {
		q.drop(false)
	}
	q.beats = nil
}

// heartbeat returns the one that m is, which nobody misses. Only what looks like one is read.
func heartbeat(m message) (bus.Heartbeat, bool) {
	if len(m.payload) > bus.MaxEventBytes || !strings.Contains(m.payload, bus.TypeHeartbeat) {
		return bus.Heartbeat{}, false
	}
	e := decode(m)
	return e.Heartbeat()
}
