package bustest

import (
	"bytes"
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
)

// memory is the broker: logs, and how far the groups have come with them.
type memory struct {
	partitions int
	now        func() time.Time

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	topics  map[string][]*partition
	history map[string][]record // by topic: all that was ever stored
	groups  map[string]*group
	down    bool
	fail    func(topic string, e bus.Event) error
}

// partition is one log. Its address is its identity: a topic made anew has other ones.
type partition struct {
	topic, log string
	number     int32
	first      int64
	records    []record // the first one has the offset first
}

type record struct {
	key      string
	value    []byte
	received time.Time
	at       bus.Position
}

func newMemory(partitions int, now func() time.Time) *memory {
	return &memory{
		partitions: partitions,
		now:        now,
		changed:    make(chan struct{}),
		topics:     make(map[string][]*partition),
		history:    make(map[string][]record),
		groups:     make(map[string]*group),
	}
}

// change does fn under the lock and wakes everybody who waits.
func (m *memory) change(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn()
	m.wake()
}

func (m *memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// wait waits until cond, which is called under the lock, holds.
func (m *memory) wait(ctx context.Context, cond func() bool) error {
	for {
		m.mu.Lock()
		done, changed := cond(), m.changed
		m.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// topic returns the partitions of a topic, which is made if need be.
func (m *memory) topic(name string) []*partition {
	if len(m.topics[name]) == 0 {
		m.grow(name, m.partitions)
	}
	return m.topics[name]
}

// grow makes the topic if need be. The log's id stays: it is the same topic.
func (m *memory) grow(name string, n int) {
	parts := m.topics[name]
	log := uuid.NewString()
	if len(parts) > 0 {
		log = parts[0].log
	}
	for len(parts) < n {
		parts = append(parts, &partition{topic: name, log: log, number: int32(len(parts))})
	}
	m.topics[name] = parts
}

// delete forgets the groups' positions too: the next log of that name is another one.
func (m *memory) delete(name string) {
	for _, p := range m.topics[name] {
		for _, g := range m.groups {
			delete(g.done, p)
		}
	}
	delete(m.topics, name)
}

// store appends a record to the partition of its key.
func (m *memory) store(topic, key string, value []byte) bus.Position {
	parts := m.topic(topic)
	hash := fnv.New32a()
	hash.Write([]byte(key))
	p := parts[hash.Sum32()%uint32(len(parts))]
	rec := record{key: key, value: bytes.Clone(value), received: m.now(), at: p.position(p.next())}
	p.records = append(p.records, rec)
	m.history[topic] = append(m.history[topic], rec)
	return rec.at
}

// drained reports whether the group is done with the partitions up to the ends. What was
// deleted or truncated since is done.
func (m *memory) drained(group string, ends map[*partition]int64) bool {
	for p, end := range ends {
		if end <= p.first || !slices.Contains(m.topics[p.topic], p) {
			continue
		}
		g := m.groups[group]
		if g == nil {
			return false
		}
		if done, known := g.done[p]; !known || done < end {
			return false
		}
	}
	return true
}

// next is the end of the log.
func (p *partition) next() int64 { return p.first + int64(len(p.records)) }

func (p *partition) position(offset int64) bus.Position {
	return bus.Position{Topic: p.topic, Log: p.log, Partition: p.number, Offset: offset}
}

// truncate copies what is left, so that a delivery in hand keeps what it was given.
func (p *partition) truncate(first int64) {
	first = min(first, p.next())
	if first > p.first {
		p.records = slices.Clone(p.records[first-p.first:])
		p.first = first
	}
}

// shorten copies what is left, as truncate does.
func (p *partition) shorten(next int64) {
	if next = max(next, p.first); next < p.next() {
		p.records = slices.Clone(p.records[:next-p.first])
	}
}

// describe says how the partition stands, for a reader that starts at offset.
func (p *partition) describe(offset int64) bus.Partition {
	return bus.Partition{Position: p.position(offset), First: p.first, Next: p.next()}
}

// start resolves where a group without a position begins.
func (p *partition) start(s bus.Start) int64 {
	if s.IsLatest() {
		return p.next()
	}
	t, since := s.Time()
	if !since {
		return p.first
	}
	i := slices.IndexFunc(p.records, func(r record) bool { return !r.received.Before(t) })
	if i < 0 {
		return p.next()
	}
	return p.first + int64(i)
}

// read returns at most limit records from offset on.
func (p *partition) read(offset int64, limit int) []record {
	recs := p.records[offset-p.first:]
	return recs[:min(limit, len(recs))]
}

func parseAll(recs []record) []bus.Event {
	events := make([]bus.Event, len(recs))
	for i, r := range recs {
		events[i] = r.event()
	}
	return events
}

// event reads the record as a backend does. Each call returns memory of its own.
func (r record) event() bus.Event {
	value := bytes.Clone(r.value)
	e, err := bus.ParseEnvelope(value)
	if err != nil {
		e = bus.Event{Key: r.key, Data: value, Err: err}
	}
	e.At = r.at
	return e
}
