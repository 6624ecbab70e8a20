package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Wrap puts around a backend's own Bus what all backends share: it refuses events and subscriptions that are
// wrong, refuses what the backend can't do, calls the hooks, and tries a handler again until its delivery is
// done. [Open] wraps by itself; Wrap is for a Bus that is made by hand, as in tests.
//
// Inside, the backend hears from the handler only nil (done), an error of [Reread] (done but for those
// partitions), a [Permanent] error (end Subscribe with it), or the context's error, once the context that the
// backend gave has ended. The backend cuts a delivery down by ending that context and calling again with less.
func Wrap(b Bus, opts ...Option) Bus {
	o := newOptions(opts)
	return &wrapped{Bus: b, hooks: o.hooks, log: o.log}
}

type wrapped struct {
	Bus
	hooks Hooks
	log   *slog.Logger
}

func (w *wrapped) Publish(ctx context.Context, topic string, events ...Event) (err error) {
	if topic == "" {
		return errors.New("bus: publish: no topic")
	}
	for i := range events {
		if err := events[i].Validate(); err != nil {
			return fmt.Errorf("bus: publish to %q: event %d: %w", topic, i, err)
		}
	}
	if len(events) == 0 {
		return ctx.Err()
	}
	ctx, done := w.hooks.publish(ctx, topic, events)
	defer func() { done(err) }()
	return w.Bus.Publish(ctx, topic, events...)
}

func (w *wrapped) Subscribe(ctx context.Context, s Subscription, h Handler) error {
	if err := s.check(); err != nil {
		return err
	}
	if missing := w.Guarantees().Missing(s.Require); missing != (Guarantees{}) {
		return &GuaranteeError{Group: s.Group, Missing: missing}
	}
	if s.MaxBatch == 0 {
		s.MaxBatch = DefaultMaxBatch
	}
	s.OnReady = w.onReady(s)
	s.OnGap = w.onGap(s)
	return w.Bus.Subscribe(ctx, s, w.retrying(s.Group, h))
}

// Partitions passes the question on to a backend that has a log.
func (w *wrapped) Partitions(ctx context.Context, topics ...string) ([]Partition, error) {
	if in, ok := w.Bus.(Inspector); ok {
		return in.Partitions(ctx, topics...)
	}
	return nil, fmt.Errorf("bus: partitions: this backend keeps no log: %w", errors.ErrUnsupported)
}

func (s Subscription) check() error {
	var faults []error
	if s.Group == "" {
		faults = append(faults, errors.New("Group is empty"))
	}
	if len(s.Topics) == 0 {
		faults = append(faults, errors.New("Topics is empty"))
	}
	for i, t := range s.Topics {
		if t == "" {
			faults = append(faults, fmt.Errorf("Topics[%d] is empty", i))
		}
	}
	if s.MaxBatch < 0 {
		faults = append(faults, fmt.Errorf("MaxBatch is %d; it must be 1 or more, or 0 for %d", s.MaxBatch, DefaultMaxBatch))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("bus: subscription: %w", err)
	}
	return nil
}

// onReady never leaves OnReady nil, and passes on changes only.
func (w *wrapped) onReady(s Subscription) func(bool) {
	was := false
	return func(ready bool) {
		if ready == was {
			return
		}
		was = ready
		if w.hooks.Ready != nil {
			w.hooks.Ready(s.Group, ready)
		}
		if s.OnReady != nil {
			s.OnReady(ready)
		}
	}
}

// onGap never leaves OnGap nil.
func (w *wrapped) onGap(s Subscription) func(context.Context, Gap) {
	return func(ctx context.Context, g Gap) {
		w.log.WarnContext(ctx, "events are missing", "group", s.Group, "topic", g.At.Topic,
			"partition", g.At.Partition, "offset", g.At.Offset, "source", g.Source, "missed", g.Missed, "reason", g.Reason)
		if w.hooks.Gap != nil {
			w.hooks.Gap(ctx, s.Group, g)
		}
		if s.OnGap != nil {
			s.OnGap(ctx, g)
		}
	}
}

// Handlers are tried again after a tenth of a second, growing to half a minute, each give or take a half of it.
const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 30 * time.Second
)

// retrying calls h until the delivery is done or its context ends.
func (w *wrapped) retrying(group string, h Handler) Handler {
	return func(ctx context.Context, d Delivery) error {
		err := w.attempt(ctx, group, d, h)
		if settled(err) || ctx.Err() != nil {
			return settle(ctx, err)
		}
		delays := &backoff.ExponentialBackOff{
			InitialInterval: firstRetry, MaxInterval: longestRetry,
			Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
		}
		delays.Reset()
		for attempt := 1; ; attempt++ {
			delay, given := RetryDelay(err)
			if !given {
				delay = delays.NextBackOff()
			}
			w.log.WarnContext(ctx, "a delivery failed and will be tried again", "group", group,
				"events", len(d.Events), "attempt", attempt, "after", delay, "err", err)
			if !wait(ctx, delay) {
				return context.Cause(ctx)
			}
			err = w.attempt(ctx, group, d, h)
			if settled(err) || ctx.Err() != nil {
				return settle(ctx, err)
			}
		}
	}
}

func (w *wrapped) attempt(ctx context.Context, group string, d Delivery, h Handler) error {
	ctx, done := w.hooks.handle(ctx, group, d)
	err := h(ctx, d)
	done(err)
	return err
}

// settled reports whether the backend is to hear of err at once.
func settled(err error) bool {
	if err == nil || IsPermanent(err) {
		return true
	}
	_, reread := RereadPositions(err)
	return reread
}

// settle hides from the backend the error of a handler that was cut short: only that it was matters.
func settle(ctx context.Context, err error) error {
	if settled(err) {
		return err
	}
	return context.Cause(ctx)
}

// wait waits for d, and reports whether ctx is still alive then.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
