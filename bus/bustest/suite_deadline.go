package bustest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

var deadlineTests = []test{
	{"publish with a cancelled context says so", always, testPublishCancelled},
	{"publish with a deadline that has passed says so", always, testPublishTooLate},
	{"a subscription ends with its deadline", always, testSubscribeUntil},
	{"a subscription whose deadline has passed delivers nothing", always, testSubscribeTooLate},
	{"partitions with a deadline that has passed says so", keepsLog, testPartitionsTooLate},
}

// passed returns a context whose deadline has passed.
func (k *kit) passed() context.Context {
	ctx, cancel := context.WithDeadline(k.ctx, time.Unix(0, 0))
	k.Cleanup(cancel)
	return ctx
}

func testPublishCancelled(k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	k.publishFails(ctx, context.Canceled)
}

func testPublishTooLate(k *kit) { k.publishFails(k.passed(), context.DeadlineExceeded) }

// publishFails publishes under a context that has ended. Whether anything was stored is left open: a backend may have
// sent before it looked. That it failed, and by what, is not.
func (k *kit) publishFails(ctx context.Context, want error) {
	k.Helper()
	b, es := k.open(), events(1, "a", "b")
	err := b.Publish(ctx, k.fresh("topic"), es...)
	if !errors.Is(err, want) {
		k.Errorf("Publish: %v, want %v", err, want)
	}
	var failed *bus.PublishError
	if errors.As(err, &failed) && len(failed.Failed) != len(es) {
		k.Errorf("%d events failed, want %d: %v", len(failed.Failed), len(es), failed.Failed)
	}
	for i, e := range es {
		if e.At != (bus.Position{}) {
			k.Errorf("event %d is at %+v, though it was not acknowledged", i, e.At)
		}
	}
}

// A deadline is an end like any other: no error, and no handler is left running. How long it takes until a handler is
// called nobody knows, so the deadline is doubled until one is in hand when it passes.
func testSubscribeUntil(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	for limit := 200 * time.Millisecond; ; limit *= 2 {
		var calls, running atomic.Int64
		var publishing sync.WaitGroup
		handler := func(ctx context.Context, _ bus.Delivery) error {
			calls.Add(1)
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}
		ctx, cancel := context.WithTimeout(k.ctx, limit)
		s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, OnReady: func(ready bool) {
			if ready {
				// Before a subscription stands a backend without a log has nobody to deliver to.
				publishing.Go(func() { _ = b.Publish(ctx, topic, event("a", 1)) })
			}
		}}
		err := k.subscribeWithin(ctx, b, s, handler)
		cancel()
		publishing.Wait()
		if err != nil {
			k.Errorf("Subscribe returned %v at its deadline, want nil", err)
		}
		if running.Load() > 0 {
			k.Error("Subscribe returned while its handler ran")
		}
		if calls.Load() > 0 || k.Failed() {
			return
		}
		if k.ctx.Err() != nil {
			k.Fatal("the handler was never called")
		}
	}
}

// subscribeWithin fails the test where Subscribe doesn't end with ctx.
func (k *kit) subscribeWithin(ctx context.Context, b bus.Bus, s bus.Subscription, h bus.Handler) error {
	k.Helper()
	ended := make(chan error, 1)
	go func() { ended <- b.Subscribe(ctx, s, h) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(k.h.Timeout):
		k.Fatal("Subscribe doesn't return")
		return nil
	}
}

// There is something to be delivered, and nobody who may be given it.
func testSubscribeTooLate(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, events(2, keys(5)...)...)
	var c collector
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}
	if err := k.subscribeWithin(k.passed(), b, s, c.handle); err != nil {
		k.Errorf("Subscribe: %v, want nil", err)
	}
	if n := len(c.all()); n > 0 {
		k.Errorf("%d deliveries came after the deadline", n)
	}
}

func testPartitionsTooLate(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, event("a", 1))
	if _, err := b.(bus.Inspector).Partitions(k.passed(), topic); !errors.Is(err, context.DeadlineExceeded) {
		k.Errorf("Partitions: %v, want context.DeadlineExceeded", err)
	}
}
