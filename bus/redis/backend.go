package redis

import (
	"context"
	"log/slog"
	"net/url"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/calls"
)

// The URL schemes.
const (
	schemePlain = "redis"
	schemeTLS   = "rediss"
)

// Backend answers to redis:// and rediss:// URLs; pass it to [bus.Open].
func Backend() bus.Backend {
	return bus.Backend{
		Schemes: []string{schemePlain, schemeTLS}, Open: open, Password: "set " + PasswordEnv + ", or pass " + paramPasswordFile,
	}
}

// connection is a bus.Bus over one Redis server. It has one link for all calls of Publish, and one for each
// Subscribe, all made when they are needed.
type connection struct {
	set       settings
	log       *slog.Logger
	publisher *publisher
	calls     *calls.Calls
}

// open checks the URL and connects to nothing yet.
func open(_ context.Context, u *url.URL, log *slog.Logger) (bus.Bus, error) {
	set, err := parseSettings(u)
	if err != nil {
		return nil, err
	}
	c := &connection{set: set, log: log, publisher: newPublisher(set, log), calls: calls.New()}
	log.Info("redis: effective settings", "settings", set.String())
	if set.database != 0 {
		log.Warn("redis: the number of a database separates no topics: whoever uses this server with another number shares them",
			"server", set.addr, "database", set.database)
	}
	return c, nil
}

// Guarantees implements bus.Bus. Order is all there is: one connection carries all that is published, and the server
// hands it on as it comes.
func (c *connection) Guarantees() bus.Guarantees { return bus.Guarantees{OrderedByKey: true} }

// Publish implements bus.Publisher.
func (c *connection) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	if err := c.calls.Enter(); err != nil {
		return err
	}
	defer c.calls.Leave()
	ctx, cancel := c.calls.Bound(ctx)
	defer cancel()
	return c.publisher.publish(ctx, topic, events)
}

// Close implements bus.Bus. After ctx has ended it takes a moment more, for what is left to be told that it failed.
func (c *connection) Close(ctx context.Context) error {
	first, err := c.calls.Close(ctx, func() {})
	if first {
		c.publisher.close()
	}
	return err
}
