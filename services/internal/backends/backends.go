// Package backends links the backends that every program of the platform can be pointed at, and the client of a schema
// registry, which makes a program 2 MB larger.
package backends

import (
	"context"
	"log/slog"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/bus/kafka/schemaregistry"
	"github.com/tidings-dev/tidings/bus/redis"
)

// Open opens the bus that url names, by [bus.Open]. It waits for no broker.
func Open(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error) {
	registry := kafka.WithSchemaRegistry(schemaregistry.New)
	return bus.Open(ctx, url, kafka.Backend(registry), redis.Backend(), bus.WithLogger(log))
}
