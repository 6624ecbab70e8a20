package kafka

import (
	"context"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// fullWait is how long Publish waits before it offers an event again to a queue that is full.
const fullWait = 2 * time.Millisecond

// recheck is how long Publish waits before it looks whether the topic is still there. librdkafka would wait half a
// minute for one that was deleted to appear again by itself.
const recheck = 2 * time.Second

// publishing is one call of Publish. Everything in it belongs to the goroutine of the caller, which hands out the
// events, waits in one select for reports, and is through when the last has come. So a call needs no lock and leaves
// nothing behind: when its context ends, late reports go into a channel that nobody reads any more.
type publishing struct {
	p      *producer
	topics *topics
	topic  topic
	frames frames // of the schema registry
	events []bus.Event
	// reports has room for all events of the call, so that the producer never waits for a call that has ended.
	reports chan ck.Event
	pending int // sent and not reported
	failed  map[int]error
	stuck   map[string]error // keys of which an event can't be sent, and why
}

// publish sends events and waits for what becomes of each. p must have been acquired.
func publish(ctx context.Context, p *producer, ts *topics, t topic, fs frames, events []bus.Event) error {
	c := &publishing{p: p, topics: ts, topic: t, frames: fs, events: events, reports: make(chan ck.Event, len(events))}
	c.send(ctx)
	c.wait(ctx)
	if len(c.failed) > 0 {
		return &bus.PublishError{Topic: t.name, Failed: c.failed}
	}
	return nil
}

// send hands events to the producer, in order. At the first that the producer doesn't take it stops, so that nothing of
// its key follows without it. What the registry has refused holds up its own key only.
func (c *publishing) send(ctx context.Context) {
	enc := newEncoder(c.topic.name, c.p.mode)
	enc.frames = c.frames
	for i := range c.events {
		c.events[i].At = bus.Position{} // what stays so was not acknowledged
	}
	for i := range c.events {
		e := &c.events[i]
		if err := c.refused(e); err != nil {
			c.setFailed(i, err)
			continue
		}
		msg := enc.encode(e)
		for {
			err := c.p.kp.Produce(msg, c.reports)
			if err == nil {
				c.pending++
				crashpoint.Pass("outbox.5a")
				break
			}
			if isQueueFull(err) {
				err = c.full(ctx)
			}
			if err != nil {
				c.failFrom(i, err)
				return
			}
		}
	}
}

// refused says why the registry keeps e from being sent: itself, or one of its key before it.
func (c *publishing) refused(e *bus.Event) error {
	if c.frames == nil {
		return nil
	}
	if err := c.stuck[e.Key]; err != nil {
		return err
	}
	err := c.frames.of(e).err
	if err != nil {
		if c.stuck == nil {
			c.stuck = make(map[string]error)
		}
		c.stuck[e.Key] = err
	}
	return err
}

// full waits for room in the producer's queue.
func (c *publishing) full(ctx context.Context) error {
	timer := time.NewTimer(fullWait)
	defer timer.Stop()
	select {
	case report := <-c.reports:
		c.take(report)
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.p.gone:
		return c.p.cause
	}
}

// wait takes reports until all have come, ctx ends, or the producer is gone.
func (c *publishing) wait(ctx context.Context) {
	if c.pending == 0 {
		return
	}
	missing := time.NewTimer(recheck)
	defer missing.Stop()
	for c.pending > 0 {
		select {
		case report := <-c.reports:
			c.take(report)
			c.drain() // they come in crowds, and a select for each is slow
		case <-ctx.Done():
			c.drain()
			c.failPending(context.Cause(ctx))
			return
		case <-c.p.gone:
			c.drain()
			c.failPending(c.p.cause)
			return
		case <-missing.C:
			// An error means that the broker is away, which the producer waits out.
			_ = c.topics.remake(ctx, c.topic.name)
			missing.Reset(recheck)
		}
	}
}

// drain takes the reports that are there.
func (c *publishing) drain() {
	for range len(c.reports) {
		c.take(<-c.reports)
	}
}

// take notes what became of one event. Its opaque is the event itself, so nothing has to be looked up.
func (c *publishing) take(report ck.Event) {
	m, ok := report.(*ck.Message)
	if !ok {
		return
	}
	c.pending--
	e := m.Opaque.(*bus.Event)
	if err := m.TopicPartition.Error; err != nil {
		c.fail(e, err)
		return
	}
	crashpoint.Pass("outbox.6a")
	e.At = bus.Position{
		Topic: c.topic.name, Log: c.topic.id,
		Partition: m.TopicPartition.Partition, Offset: int64(m.TopicPartition.Offset),
	}
}

// fail is rare, so it looks for the event.
func (c *publishing) fail(e *bus.Event, err error) {
	for i := range c.events {
		if &c.events[i] == e {
			c.setFailed(i, err)
			return
		}
	}
}

// failFrom marks an event and all behind it: none of them was sent.
func (c *publishing) failFrom(first int, err error) {
	for i := first; i < len(c.events); i++ {
		c.setFailed(i, err)
	}
}

// failPending marks what was sent and never reported.
func (c *publishing) failPending(err error) {
	for i := range c.events {
		if _, failed := c.failed[i]; !failed && c.events[i].At.Topic == "" {
			c.setFailed(i, err)
		}
	}
}

// setFailed keeps the map for calls that need one.
func (c *publishing) setFailed(i int, err error) {
	if c.failed == nil {
		c.failed = make(map[int]error)
	}
	c.failed[i] = err
}
