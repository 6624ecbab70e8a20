package bustest

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

// ErrStored marks an error of the function given to [Recorder.FailPublish] as one that comes too late: the event is
// stored, and its publisher does not learn of it.
var ErrStored = errors.New("stored, but not acknowledged")

var errEarlier = errors.New("an earlier event of its key failed")

// conn is one connection to a memory: the driver that bus.Wrap makes whole.
type conn struct {
	m   *memory
	log *slog.Logger

	// Under m.mu:
	publishing int
	closed     bool
	broken     bool // Close has waited for long enough: what still publishes is let go
}

// Guarantees are all there are: memory is as durable as the process, which is as long as anybody asks.
func (c *conn) Guarantees() bus.Guarantees { return bus.All() }

// Publish stores all events in one step, once the broker is there.
func (c *conn) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	if !c.begin() {
		return bus.ErrClosed
	}
	defer c.m.change(func() { c.publishing-- })
	if err := c.up(ctx); err != nil {
		return failAll(topic, len(events), err)
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	failed := c.m.storeAll(topic, events)
	c.m.wake()
	if len(failed) > 0 {
		return &bus.PublishError{Topic: topic, Failed: failed}
	}
	return nil
}

// begin enters a call that Close has to wait for, unless the connection is closed.
func (c *conn) begin() bool {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.closed {
		return false
	}
	c.publishing++
	return true
}

// up waits until the broker is there.
func (c *conn) up(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.m.wait(ctx, func() bool { return !c.m.down || c.broken }); err != nil {
		return err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.broken {
		return bus.ErrClosed
	}
	return nil
}

// failAll is the error of a call of which nothing was acknowledged.
func failAll(topic string, n int, err error) error {
	failed := make(map[int]error, n)
	for i := range n {
		failed[i] = err
	}
	return &bus.PublishError{Topic: topic, Failed: failed}
}

// storeAll stores what is not made to fail, and returns by index what is.
func (m *memory) storeAll(topic string, events []bus.Event) map[int]error {
	failed := make(map[int]error)
	stopped := make(map[string]bool) // keys that have failed
	for i := range events {
		e := &events[i]
		err := m.verdict(topic, *e, stopped)
		if err == nil || errors.Is(err, ErrStored) {
			at := m.store(topic, e.Key, e.AppendEnvelope(nil))
			if err == nil {
				e.At = at
			}
		}
		if err != nil {
			failed[i] = err
			stopped[e.Key] = true
		}
	}
	return failed
}

// verdict is the error that an event is to fail with, if it is.
func (m *memory) verdict(topic string, e bus.Event, stopped map[string]bool) error {
	switch {
	case stopped[e.Key]:
		return errEarlier
	case m.fail == nil:
		return nil
	default:
		return m.fail(topic, e)
	}
}

// Partitions leaves out the topics that don't exist: asking makes none.
func (c *conn) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	if !c.begin() {
		return nil, bus.ErrClosed
	}
	defer c.m.change(func() { c.publishing-- })
	if err := c.up(ctx); err != nil {
		return nil, err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	var parts []bus.Partition
	for _, name := range sortedSet(topics) {
		for _, p := range c.m.topics[name] {
			parts = append(parts, p.describe(p.first))
		}
	}
	return parts, nil
}

// Close lets go of what still waits for the broker when ctx ends: those calls return ErrClosed.
func (c *conn) Close(ctx context.Context) error {
	c.m.change(func() { c.closed = true })
	err := c.m.wait(ctx, func() bool { return c.publishing == 0 })
	c.m.change(func() { c.broken = true })
	return err
}

// sortedSet is names in order, each once.
func sortedSet(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
