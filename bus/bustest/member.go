package bustest

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

// member is one Subscribe. Its fields belong to the goroutine of Subscribe; the group is under the memory's lock.
type member struct {
	c     *conn
	s     bus.Subscription
	g     *group
	at    map[*partition]int64 // where it reads on; a partition that it owns and that isn't here has to be resumed
	asked map[*partition]bool  // what Resume was asked about at first; a partition that came later starts at its start
	turn  int                  // which partition fills a delivery first, so that none starves
}

var errTaken = errors.New("the delivery's partitions were taken away")

// Subscribe runs one member until ctx ends. Nothing else runs but, while it waits for one, a handler.
func (c *conn) Subscribe(ctx context.Context, s bus.Subscription, h bus.Handler) error {
	m := &member{c: c, s: s, at: make(map[*partition]int64), asked: make(map[*partition]bool)}
	m.s.Topics = sortedSet(s.Topics)
	defer s.OnReady(false)
	if err := c.up(ctx); err != nil {
		return ended(ctx, err)
	}
	if err := m.askAll(ctx); err != nil {
		return ended(ctx, err)
	}
	m.join()
	defer m.leave()
	return ended(ctx, m.run(ctx, h))
}

// ended is nil where err only says that ctx has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && !bus.IsPermanent(err) {
		return nil
	}
	return err
}

// run does one step after another. Each is decided anew from how things stand, so that nothing has to be undone when
// they change: a partition that is taken away, a topic that is deleted, a broker that goes and comes.
func (m *member) run(ctx context.Context, h bus.Handler) error {
	for ctx.Err() == nil {
		step := m.next()
		switch {
		case step.closed:
			return bus.ErrClosed
		case step.down:
			m.s.OnReady(false)
		case len(step.gaps) > 0:
			for _, g := range step.gaps {
				m.s.OnGap(ctx, g)
			}
			continue
		case len(step.resume) > 0:
			if err := m.assign(ctx, step.resume); err != nil {
				return err
			}
			continue
		default:
			m.s.OnReady(true)
		}
		if len(step.delivery.Ranges) > 0 {
			if err := m.deliver(ctx, step.delivery, h); err != nil {
				return err
			}
			continue
		}
		select {
		case <-step.changed:
		case <-ctx.Done():
		}
	}
	return nil
}

// step is what a member has to do next: the first of its fields that is set, or else to wait for a change.
type step struct {
	closed, down bool
	gaps         []bus.Gap
	resume       []*partition
	delivery     bus.Delivery
	changed      <-chan struct{}
}

// next decides under the lock; whatever changes after it closes changed, and is seen by the next step.
func (m *member) next() step {
	mem := m.c.m
	mem.mu.Lock()
	defer mem.mu.Unlock()
	s := step{closed: m.c.closed, down: mem.down}
	if !s.closed && !s.down {
		s.gaps = m.rebalance()
		for _, p := range m.partitions() {
			if _, known := m.at[p]; m.g.owner[p] == m && !known {
				s.resume = append(s.resume, p)
			}
		}
		if len(s.gaps)+len(s.resume) == 0 {
			s.delivery = m.take()
		}
	}
	s.changed = mem.changed
	return s
}

// take makes a delivery of whatever is ready, up to MaxBatch.
func (m *member) take() bus.Delivery {
	var d bus.Delivery
	parts := slices.DeleteFunc(m.partitions(), func(p *partition) bool { return m.g.owner[p] != m })
	left := m.s.MaxBatch
	m.turn++
	for i := range parts {
		p := parts[(i+m.turn)%len(parts)]
		recs := p.read(m.at[p], left)
		if len(recs) == 0 {
			continue
		}
		left -= len(recs)
		d.Events = append(d.Events, parseAll(recs)...)
		d.Ranges = append(d.Ranges, bus.Range{Position: p.position(m.at[p]), Next: m.at[p] + int64(len(recs))})
	}
	slices.SortFunc(d.Ranges, func(a, b bus.Range) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return d
}

// deliver calls h, in a goroutine that it waits for, and moves on by what it answers. It returns an error only
// where that ends the subscription.
func (m *member) deliver(ctx context.Context, d bus.Delivery, h bus.Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answer := make(chan error, 1)
	go func() { answer <- h(ctx, d) }()
	for {
		lost, down, changed := m.watch(d)
		if lost {
			cancel(errTaken)
		}
		if down {
			m.s.OnReady(false)
		}
		select {
		case err := <-answer:
			return m.settle(d, err)
		case <-changed:
		}
	}
}

// watch reports whether the delivery has to be given up, and whether the broker is away.
func (m *member) watch(d bus.Delivery) (lost, down bool, changed <-chan struct{}) {
	mem := m.c.m
	mem.mu.Lock()
	defer mem.mu.Unlock()
	lost = m.c.closed
	for _, r := range d.Ranges {
		p := m.find(r.Position)
		lost = lost || p == nil || m.g.target(p) != m
	}
	return lost, mem.down, mem.changed
}

// find returns the partition that at names, if it is still there.
func (m *member) find(at bus.Position) *partition {
	for _, p := range m.c.m.topics[at.Topic] {
		if p.number == at.Partition && p.log == at.Log {
			return p
		}
	}
	return nil
}

// settle moves on by the handler's answer. After an error that is neither Permanent nor of Reread the delivery was
// cut short, and comes again.
func (m *member) settle(d bus.Delivery, err error) error {
	if bus.IsPermanent(err) {
		return err
	}
	reread, some := bus.RereadPositions(err)
	if err != nil && !some {
		return nil
	}
	named := func(p *partition) bool {
		return slices.ContainsFunc(reread, func(at bus.Position) bool { return at.Topic == p.topic && at.Partition == p.number })
	}
	m.c.m.change(func() {
		for _, r := range d.Ranges {
			if p := m.find(r.Position); p != nil && !named(p) {
				m.at[p], m.g.done[p] = r.Next, r.Next
			}
		}
		for p := range m.at {
			if named(p) {
				m.forget(p)
			}
		}
	})
	return nil
}
