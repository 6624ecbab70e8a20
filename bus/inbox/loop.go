package inbox

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// longestSleep bounds how long a timer trusts what it knows: another process may have written meanwhile, and the
// clock may have been set.
const longestSleep = time.Second

// loop calls step again and again until ctx ends: when wake is poked, and at the time that step returns. A step that
// fails is logged and tried again after a growing delay; an error never ends it, for a database that is away comes
// back. It returns nil, in the form that errgroup wants.
func (in *Inbox) loop(ctx context.Context, failed string, wake <-chan struct{}, step func(context.Context) (time.Time, error)) error {
	delays := newDelays(100*time.Millisecond, 10*time.Second)
	for ctx.Err() == nil {
		sleep := longestSleep
		next, err := step(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			sleep = delays.NextBackOff()
			in.log.WarnContext(ctx, failed, "after", sleep, "err", err)
			wait(ctx, sleep, nil)
			continue
		case !next.IsZero():
			sleep = min(sleep, max(0, next.Sub(in.cfg.Now())))
		}
		delays.Reset()
		wait(ctx, sleep, wake)
	}
	return nil
}

func newDelays(first, longest time.Duration) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{
		InitialInterval: first, MaxInterval: longest,
		Multiplier: 2, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	b.Reset()
	return b
}

// wait waits for d, for wake, or for the end of ctx.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}
