package bustest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// askAll asks Resume about every partition before the first is read. Only that it was asked matters: each is asked
// about again when it is assigned.
func (m *member) askAll(ctx context.Context) error {
	m.c.m.mu.Lock()
	parts := m.partitions()
	for _, p := range parts {
		m.asked[p] = true
	}
	m.c.m.mu.Unlock()
	if m.s.Resume == nil {
		return nil
	}
	_, err := m.resume(ctx, parts)
	return err
}

// assign finds out where to read the partitions on.
func (m *member) assign(ctx context.Context, parts []*partition) error {
	if m.s.Resume == nil {
		m.c.m.change(func() {
			for _, p := range parts {
				m.at[p] = max(m.g.done[p], p.first)
			}
		})
		return nil
	}
	offsets, err := m.resume(ctx, parts)
	if err != nil {
		return err
	}
	m.c.m.change(func() {
		for i, p := range parts {
			m.at[p], m.g.done[p] = offsets[i], offsets[i]
		}
	})
	return nil
}

// resume asks the reader until it has a good answer, or ctx ends.
func (m *member) resume(ctx context.Context, parts []*partition) ([]int64, error) {
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		asked := m.describe(parts)
		offsets, err := m.s.Resume(ctx, slices.Clone(asked))
		if err == nil {
			err = checkAnswer(asked, offsets)
		}
		if err == nil {
			return offsets, nil
		}
		m.c.log.WarnContext(ctx, "the reader can't say where to read on and is asked again", "group", m.s.Group, "err", err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// describe is what Resume is told, as things stand at this moment.
func (m *member) describe(parts []*partition) []bus.Partition {
	m.c.m.mu.Lock()
	defer m.c.m.mu.Unlock()
	asked := make([]bus.Partition, len(parts))
	for i, p := range parts {
		start := p.first
		if m.asked[p] {
			start = p.start(m.s.Start)
		}
		asked[i] = p.describe(start)
	}
	return asked
}

// checkAnswer refuses what would make the member read where there is no log.
func checkAnswer(asked []bus.Partition, offsets []int64) error {
	if len(offsets) != len(asked) {
		return fmt.Errorf("bustest: Resume gave %d offsets for %d partitions", len(offsets), len(asked))
	}
	for i, p := range asked {
		if offsets[i] < p.First || offsets[i] > p.Next {
			return fmt.Errorf("bustest: Resume gave offset %d for %s/%d, which holds %d to %d", offsets[i], p.Topic, p.Partition, p.First, p.Next)
		}
	}
	return nil
}
