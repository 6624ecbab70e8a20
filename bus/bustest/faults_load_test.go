package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// impatience is shorter than what the Recorder's harness calls slow.
const impatience = 30 * time.Millisecond

// hurried has a delivery handled, and does otherwise once that takes too long. The handler goes on meanwhile.
func hurried(otherwise func(ctx context.Context, d bus.Delivery, h bus.Handler) error) func(*faulty) {
	return handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		answer := make(chan error, 1)
		go func() { answer <- h(ctx, d) }()
		select {
		case err := <-answer:
			return err
		case <-time.After(impatience):
			return otherwise(ctx, d, h)
		}
	})
}

// faultsUnderLoad bend the Recorder where members come and go, handlers are slow, deadlines pass and events are large.
var faultsUnderLoad = []fault{
	{"a partition is given away while it is handled", "members come and go under load, and the order of a key holds",
		handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
			answer := make(chan error, 1)
			go func() { answer <- h(context.WithoutCancel(ctx), d) }()
			select {
			case err := <-answer:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})},
	{"what a member had in hand is lost with it", "members come and go under load, and the order of a key holds",
		handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
			if err := h(ctx, d); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})},
	{"publishing through an outage is given up in silence", "an outage under load loses nothing", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_ = f.Bus.Publish(ctx, topic, events...)
			return nil
		}
	}},
	{"an outage loses a delivery", "an outage under load loses nothing", func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			var wasAway atomic.Bool
			tell := s.OnReady
			s.OnReady = func(ready bool) {
				if !ready {
					wasAway.Store(true)
				}
				tell(ready)
			}
			return f.Bus.Subscribe(ctx, s, func(ctx context.Context, d bus.Delivery) error {
				if wasAway.CompareAndSwap(true, false) {
					return nil
				}
				return h(ctx, d)
			})
		}
	}},
	{"a subscription doesn't come back from an outage", "an outage under load loses nothing", func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			tell := s.OnReady
			s.OnReady = func(ready bool) {
				tell(ready)
				if !ready {
					cancel()
				}
			}
			return f.Bus.Subscribe(ctx, s, h)
		}
	}},
	{"a slow handler counts as done", "a handler slower than the backend's patience loses nothing",
		handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
			ctx, cancel := context.WithTimeout(ctx, impatience)
			defer cancel()
			if err := h(ctx, d); ctx.Err() == nil {
				return err
			}
			return nil
		})},
	{"what a slow handler has is given to another", "a handler slower than the backend's patience loses nothing",
		hurried(func(ctx context.Context, d bus.Delivery, h bus.Handler) error { return h(ctx, d) })},
	{"a slow handler is thrown out for ever", "a handler slower than the backend's patience loses nothing",
		hurried(func(context.Context, bus.Delivery, bus.Handler) error { return bus.Permanent(errors.New("thrown out")) })},
	{"a deadline is not heeded", "publish with a deadline that has passed says so", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				ctx = context.WithoutCancel(ctx)
			}
			return f.Bus.Publish(ctx, topic, events...)
		}
	}},
	{"a deadline is taken for a failure", "a subscription ends with its deadline", func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			err := f.Bus.Subscribe(ctx, s, h)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return err
		}
	}},
	{"a subscription outlives its deadline", "a subscription ends with its deadline", func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			return f.Bus.Subscribe(context.WithoutCancel(ctx), s, h)
		}
	}},
	{"a subscription begins after its deadline", "a subscription whose deadline has passed delivers nothing", func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
			defer cancel()
			return f.Bus.Subscribe(ctx, s, h)
		}
	}},
	{"asking for partitions heeds no deadline", "partitions with a deadline that has passed says so", func(f *faulty) { f.patient = true }},
	{"the largest event is refused", "publish takes an event of exactly the limit", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			if slices.ContainsFunc(events, func(e bus.Event) bool { return e.Size() >= bus.MaxEventBytes }) {
				return fmt.Errorf("publish: %w", bus.ErrTooLarge)
			}
			return f.Bus.Publish(ctx, topic, events...)
		}
	}},
	{"the largest event arrives cut off", "publish takes an event of exactly the limit",
		handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
			for i, e := range d.Events {
				d.Events[i].Data = e.Data[:min(len(e.Data), 1<<19)]
			}
			return h(ctx, d)
		})},
	{"a byte too many is cut off", "publish refuses an event that is a byte too large", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			for i, e := range events {
				events[i].Data = e.Data[:len(e.Data)-max(0, e.Size()-bus.MaxEventBytes)]
			}
			return f.Bus.Publish(ctx, topic, events...)
		}
	}},
	{"what is too large is refused by itself", "publish refuses an event that is a byte too large", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			for i, e := range events {
				if err := f.Bus.Publish(ctx, topic, events[i:i+1]...); err != nil {
					return fmt.Errorf("event %s: %w", e.ID, err)
				}
			}
			return nil
		}
	}},
}

// wrapped has the faults that are no longer allowed.
func wrapped(with bustest.Faults) func(*faulty) {
	return func(f *faulty) { f.Bus = with.Wrap(f.Bus) }
}

// faultsOfWrapper bend the Recorder by what users bend their own bus with.
var faultsOfWrapper = []fault{
	{"the wrapper drops events", "events of a key arrive in order", wrapped(bustest.Faults{Drop: 0.1})},
	{"the wrapper drops events of every group", "each group gets every event", wrapped(bustest.Faults{Drop: 0.1})},
	{"the wrapper drops events under load", "members come and go under load, and the order of a key holds", wrapped(bustest.Faults{Drop: 0.1})},
	{"the wrapper refuses events", "publish is safe for concurrent use", wrapped(bustest.Faults{RefusePublish: 0.2})},
	{"the wrapper loses acknowledgements", "publish is safe for concurrent use", wrapped(bustest.Faults{LoseAck: 0.2})},
	{"the wrapper repeats deliveries", "ranges cover the log without a gap", wrapped(bustest.Faults{RepeatDelivery: 0.1})},
}
