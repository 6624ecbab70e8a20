package outbox

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

// sample takes a number of keys at random, each as likely as any other, from rows that come one after another
// without anybody knowing how many there will be (reservoir sampling). Of a key that is taken it has all rows.
type sample struct {
	size  int
	taken []*sampledKey            // at most size
	keys  map[eventKey]*sampledKey // all that were seen
	seen  int                      // keys that were not forced
}

type sampledKey struct {
	rows []sampledRow
	out  bool // it was passed over, or replaced
}

type sampledRow struct {
	position int64
	topic    string
	event    bus.Event
}

// newSample makes a sample of at most size keys.
func newSample(size int) *sample {
	return &sample{size: size, keys: make(map[eventKey]*sampledKey)}
}

// add offers row i of a batch. Rows come in order of position. A forced key is taken without counting.
func (s *sample) add(k eventKey, b *batch, i int, forced bool) {
	key := s.keys[k]
	if key == nil {
		key = &sampledKey{}
		s.keys[k] = key
		if !forced {
			s.offer(key)
		}
	}
	if !key.out {
		key.rows = append(key.rows, sampledRow{b.positions[i], b.topics[i], b.events[i]})
	}
}

// offer takes a new key, in place of another one where there are enough.
func (s *sample) offer(key *sampledKey) {
	s.seen++
	if len(s.taken) < s.size {
		s.taken = append(s.taken, key)
		return
	}
	i := rand.IntN(s.seen)
	if i >= s.size {
		key.out = true
		return
	}
	s.taken[i].out, s.taken[i].rows = true, nil
	s.taken[i] = key
}

// complete reports whether every key that was seen is in the sample.
func (s *sample) complete() bool { return s.seen <= s.size }

// batch returns the rows of the sample, in order of position.
func (s *sample) batch() *batch {
	var rows []sampledRow
	for _, key := range s.keys {
		rows = append(rows, key.rows...)
	}
	slices.SortFunc(rows, func(a, b sampledRow) int { return cmp.Compare(a.position, b.position) })
	b := &batch{}
	for _, row := range rows {
		b.positions = append(b.positions, row.position)
		b.topics = append(b.topics, row.topic)
		b.events = append(b.events, row.event)
	}
	return b
}
