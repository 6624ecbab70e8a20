package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// The URL schemes.
const (
	schemePlain = "redis"
	schemeTLS   = "rediss"
)

// Backend answers to redis:// and rediss:// URLs; pass it to [bus.Open].
func Backend() bus.Backend {
	return bus.Backend{Schemes: []string{schemePlain, schemeTLS}, Open: open}
}

// connection is a bus.Bus over one Redis server. It has one link for all calls of Publish, and one for each
// Subscribe, all made when they are needed.
type connection struct {
	set       settings
	log       *slog.Logger
	publisher *publisher

	// ctx ends when Close gives up waiting.
	ctx  context.Context
	stop context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // Publish and Subscribe calls
}

// open checks the URL and connects to nothing yet.
func open(_ context.Context, u *url.URL, log *slog.Logger) (bus.Bus, error) {
	set, err := parseSettings(u)
	if err != nil {
		return nil, err
	}
	c := &connection{set: set, log: log, publisher: newPublisher(set, log)}
	c.ctx, c.stop = context.WithCancelCause(context.Background())
	log.Info("redis: effective settings", "settings", set.String())
	if set.database != 0 {
		log.Warn("redis: the number of a database separates no topics: whoever uses this server with another number shares them",
			"server", set.addr, "database", set.database)
	}
	return c, nil
}

// enter counts a call in; it refuses once Close has begun.
func (c *connection) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return bus.ErrClosed
	}
	c.calls.Add(1)
	return nil
}

// bound ends ctx when Close gives up waiting, too.
func (c *connection) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Guarantees implements bus.Bus. Order is all there is: one connection carries all that is published, and the server
// hands it on as it comes.
func (c *connection) Guarantees() bus.Guarantees { return bus.Guarantees{OrderedByKey: true} }

// Publish implements bus.Publisher.
func (c *connection) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.Done()
	ctx, cancel := c.bound(ctx)
	defer cancel()
	return c.publisher.publish(ctx, topic, events)
}

// Close implements bus.Bus. After ctx has ended it takes a moment more, for what is left to be told that it failed.
func (c *connection) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if !first {
		return nil
	}
	waited := wait(ctx, "calls are still in flight", c.calls.Wait)
	c.stop(bus.ErrClosed) // whoever still waits for a server hears that it is over
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	ended := wait(late, "calls are still ending", c.calls.Wait)
	c.publisher.close()
	return errors.Join(waited, ended)
}

// closeTime bounds what Close does after its context has ended.
const closeTime = 10 * time.Second

// wait waits for f until ctx ends; f goes on then.
func wait(ctx context.Context, what string, f func()) error {
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
