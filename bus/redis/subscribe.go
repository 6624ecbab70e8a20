package redis

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Subscribe implements bus.Subscriber.
func (c *connection) Subscribe(ctx context.Context, sub bus.Subscription, h bus.Handler) error {
	if err := c.calls.Enter(); err != nil {
		return err
	}
	defer c.calls.Leave()
	ctx, cancel := c.calls.Bound(ctx)
	defer cancel()
	err := newSubscription(c, sub, h).run(ctx)
	if err == nil && c.calls.Ended() {
		return bus.ErrClosed
	}
	return err
}

// subscription is one call of Subscribe. Three goroutines make it up:
//
//   - the reader, which does nothing but take what the server sends, on one link after the other, so that the server
//     never has to hold anything back for us (its client-output-buffer-limit cuts off who doesn't read);
//   - the worker, which has one delivery after the other handled;
//   - the teller, which calls OnReady and OnGap, so that neither of the others has to wait for those.
type subscription struct {
	set     settings
	sub     bus.Subscription
	handler bus.Handler
	log     *slog.Logger
	queue   *queue
	teller  *teller
}

func newSubscription(c *connection, sub bus.Subscription, h bus.Handler) *subscription {
	sub.Topics = slices.Compact(slices.Sorted(slices.Values(sub.Topics)))
	if sub.MaxBatch == 0 {
		sub.MaxBatch = bus.DefaultMaxBatch
	}
	s := &subscription{
		set: c.set, sub: sub, handler: h, log: c.log.With("group", sub.Group), teller: newTeller(sub),
	}
	overflow := fmt.Sprintf("overflow: the handler was slower than what came, and over %d bytes waited for it", c.set.buffer)
	s.queue = newQueue(c.set.buffer, func(topic string, full bool) {
		reason := reasonEnded
		if full {
			reason = overflow
		}
		s.teller.missed(topic, 1, reason)
	})
	return s
}

// run owns every goroutine of the subscription. The order of the end matters: first nothing more is read, then what
// was read gets its time to be handled, then what is left of it is told to be missing.
func (s *subscription) run(ctx context.Context) error {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	handling, stopHandling := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopHandling(nil)
	var reader, teller sync.WaitGroup
	reader.Go(func() {
		s.read(reading)
		s.queue.close()
	})
	teller.Go(func() { s.teller.run(context.WithoutCancel(ctx)) })
	defer context.AfterFunc(reading, func() {
		time.AfterFunc(s.set.drain, func() { stopHandling(errEnding) })
	})()

	err := s.work(handling)

	stopReading()
	reader.Wait()
	s.queue.discard()
	s.teller.end()
	teller.Wait()
	return err
}
