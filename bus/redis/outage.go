package redis

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// outage is a time during which the server can't be used, as it is told in the log and waited out: the first failure
// is told, then one in half a minute, then the end. It is safe for concurrent use.
type outage struct {
	log  *slog.Logger
	what string // that waits: "publishing", "a subscription"

	mu     sync.Mutex
	delays *backoff.ExponentialBackOff
	since  time.Time // zero while there is none
	told   time.Time
}

// quiet is for how long an outage that goes on is not told again.
const quiet = 30 * time.Second

// A server that is back should be found within about a second, and by subscribers before publishing has waited for them
// in vain (listenersWait). The delays are give or take a half, and a dial that hangs (dial.timeout) comes on top.
const (
	firstDelay   = 20 * time.Millisecond
	longestDelay = 700 * time.Millisecond
)

func newOutage(log *slog.Logger, what string) *outage {
	o := &outage{log: log, what: what, delays: &backoff.ExponentialBackOff{
		InitialInterval: firstDelay, MaxInterval: longestDelay,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}}
	o.delays.Reset()
	return o
}

// wait takes note of a failure and waits until it is time to try again. It returns false if ctx ends before.
func (o *outage) wait(ctx context.Context, err error) bool {
	timer := time.NewTimer(o.failed(err))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// failed takes note of a failure and says how long to wait.
func (o *outage) failed(err error) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	if now.Sub(o.told) >= quiet {
		o.told = now
		o.log.Warn("redis: "+o.what+" waits for the server", "err", err, "for", now.Sub(o.since).Round(time.Millisecond))
	}
	return o.delays.NextBackOff()
}

// over says that the server can be used.
func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	o.log.Info("redis: "+o.what+" goes on", "after", time.Since(o.since).Round(time.Millisecond))
	o.since, o.told = time.Time{}, time.Time{}
	o.delays.Reset()
}
