package bustest

import (
	"fmt"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

// group is what the broker knows of a consumer group.
type group struct {
	members []*member // in the order of joining
	owner   map[*partition]*member
	done    map[*partition]int64 // where the group reads on: the position kept by the broker
	seen    map[string]bool      // topics whose start has been fixed
}

// group returns a group, which is made if need be: a group is nothing but its name.
func (m *memory) group(name string) *group {
	g := m.groups[name]
	if g == nil {
		g = &group{owner: make(map[*partition]*member), done: make(map[*partition]int64), seen: make(map[string]bool)}
		m.groups[name] = g
	}
	return g
}

// target is the member that p belongs to. The present owner gives it up by itself before another one takes it.
func (g *group) target(p *partition) *member {
	var readers []*member
	for _, m := range g.members {
		if slices.Contains(m.s.Topics, p.topic) {
			readers = append(readers, m)
		}
	}
	if len(readers) == 0 {
		return nil
	}
	return readers[int(p.number)%len(readers)]
}

// join makes m a member, and fixes the start of topics that are new to the group.
func (m *member) join() {
	m.c.m.change(func() {
		m.g = m.c.m.group(m.s.Group)
		m.g.members = append(m.g.members, m)
	})
}

// leave gives all partitions back at once. It is called when no handler is running.
func (m *member) leave() {
	m.c.m.change(func() {
		m.g.members = slices.DeleteFunc(m.g.members, func(o *member) bool { return o == m })
		for p, owner := range m.g.owner {
			if owner == m {
				delete(m.g.owner, p)
			}
		}
	})
}

// rebalance gives up and takes what the group's members have to, and gives up positions that a log no longer holds.
func (m *member) rebalance() (gaps []bus.Gap) {
	parts := m.partitions()
	for p, owner := range m.g.owner {
		if owner == m && (m.g.target(p) != m || !slices.Contains(parts, p)) {
			delete(m.g.owner, p)
			delete(m.at, p)
			m.c.m.wake()
		}
	}
	for _, p := range parts {
		m.fixStart(p)
		if m.g.owner[p] == nil && m.g.target(p) == m {
			m.g.owner[p] = m
			m.forget(p)
		}
		if at, reads := m.at[p]; reads && at < p.first {
			gaps = append(gaps, gap(p, at))
			m.forget(p)
		}
		if at, reads := m.at[p]; reads && at > p.next() {
			gaps = append(gaps, bus.Gap{At: p.position(at), Reason: fmt.Sprintf("the log ends at %d, before position %d", p.next(), at)})
			m.g.done[p] = p.first
			m.forget(p)
		}
	}
	for _, topic := range m.s.Topics {
		m.g.seen[topic] = true
	}
	return gaps
}

// fixStart gives a group that leaves its position to the broker one, at the moment when it is first seen. A
// partition that is added to a topic later is read from its start.
func (m *member) fixStart(p *partition) {
	if _, known := m.g.done[p]; known || m.s.Resume != nil {
		return
	}
	if m.g.seen[p.topic] {
		m.g.done[p] = p.first
	} else {
		m.g.done[p] = p.start(m.s.Start)
	}
}

func gap(p *partition, at int64) bus.Gap {
	return bus.Gap{
		At: p.position(at), Missed: uint64(p.first - at),
		Reason: fmt.Sprintf("the log starts at %d, behind position %d", p.first, at),
	}
}

// forget makes the member ask again where to read p.
func (m *member) forget(p *partition) {
	delete(m.at, p)
	if m.s.Resume != nil {
		delete(m.g.done, p) // until the reader has said how far it is
	}
}

// partitions are those of the subscription's topics, in order. Topics that don't exist are made.
func (m *member) partitions() []*partition {
	var parts []*partition
	for _, name := range m.s.Topics {
		parts = append(parts, m.c.m.topic(name)...)
	}
	return parts
}
