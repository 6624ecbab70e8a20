// Package calls counts the calls that a bus is in, so that its Close can wait for them, and end them when it has
// waited for long enough. Every backend closes in this way.
package calls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Calls are the Publish and Subscribe calls of one bus. Make them with [New]. They are safe for concurrent use.
type Calls struct {
	// ctx ends when Close gives up waiting.
	ctx  context.Context
	stop context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// New counts none yet.
func New() *Calls {
	c := &Calls{}
	c.ctx, c.stop = context.WithCancelCause(context.Background())
	return c
}

// Enter counts a call in, which then has to Leave. It returns [bus.ErrClosed] once Close has begun.
func (c *Calls) Enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return bus.ErrClosed
	}
	c.running.Add(1)
	return nil
}

// Leave counts a call out.
func (c *Calls) Leave() { c.running.Done() }

// Bound ends ctx when Close gives up waiting, too, with [bus.ErrClosed] as its cause.
func (c *Calls) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Ended reports whether Close has given up waiting.
func (c *Calls) Ended() bool { return c.ctx.Err() != nil }

// closeTime bounds what Close does after its context has ended.
const closeTime = 10 * time.Second

// Close refuses further calls and waits for those that run, until ctx ends. Then it ends their contexts, has what the
// bus holds given up by giveUp, and takes a moment more for the calls to tell that they failed. first is false where it
// was called before, and then it does nothing.
func (c *Calls) Close(ctx context.Context, giveUp func()) (first bool, err error) {
	c.mu.Lock()
	first = !c.closed
	c.closed = true
	c.mu.Unlock()
	if !first {
		return false, nil
	}
	waited := Wait(ctx, "calls are still in flight", c.running.Wait)
	c.stop(bus.ErrClosed)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	return true, errors.Join(waited, Wait(late, "calls are still ending", func() { giveUp(); c.running.Wait() }))
}

// Wait waits for f until ctx ends, with an error that says what was waited for; f goes on then.
func Wait(ctx context.Context, what string, f func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("bus: close: %s: %w", what, context.Cause(ctx))
	}
}
