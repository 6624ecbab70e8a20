// Package backends links the backends that every program of the platform can be pointed at.
package backends

import (
	"context"
	"log/slog"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/bus/redis"
)

// Open opens the bus that url names, by [bus.Open]. It waits for no broker.
func Open(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error) {
	return bus.Open(ctx, url, kafka.Backend(), redis.Backend(), bus.WithLogger(log))
}
