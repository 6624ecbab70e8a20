package servicetest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
)

// KafkaURL is the broker that TIDINGS_TEST_KAFKA names, or else an embedded one that runs until the test ends.
func KafkaURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_KAFKA"); url != "" {
		return url
	}
	k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{
		Addr: "127.0.0.1:0", Dir: filepath.Join(t.TempDir(), "kafka"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, k)
	return k.URL()
}

// RedisURL is the server that TIDINGS_TEST_REDIS names, or else an embedded one that runs until the test ends.
func RedisURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_REDIS"); url != "" {
		return url
	}
	r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, r)
	return r.URL()
}

// OnKafka points a service at the broker of [KafkaURL] and at a topic of the test's own, and returns a connection of
// the test's to the same broker.
func OnKafka(t testing.TB, cfg *config.Common) bus.Bus {
	t.Helper()
	return on(t, KafkaURL(t), cfg)
}

// OnRedis is OnKafka for the server of [RedisURL].
func OnRedis(t testing.TB, cfg *config.Common) bus.Bus {
	t.Helper()
	return on(t, RedisURL(t), cfg)
}

func on(t testing.TB, url string, cfg *config.Common) bus.Bus {
	t.Helper()
	cfg.Bus, cfg.Topic = url, NewTopic()
	b, err := backends.Open(t.Context(), cfg.Bus, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, b)
	return b
}

// NewTopic is the name of a topic that nobody else uses, on a server that others use too.
func NewTopic() string { return fmt.Sprintf("tidings-test-%d-%d", os.Getpid(), time.Now().UnixNano()) }

// closeAtEnd closes c when the test ends, and fails it if that goes wrong.
func closeAtEnd(t testing.TB, c interface{ Close(context.Context) error }) {
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// Publish publishes events to [Topic], in order.
func Publish(t testing.TB, b bus.Publisher, events ...bus.Event) {
	t.Helper()
	PublishTo(t, b, Topic, events...)
}

// PublishTo publishes events to a topic, in order, and waits until they are stored.
func PublishTo(t testing.TB, b bus.Publisher, topic string, events ...bus.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*Soon)
	defer cancel()
	if err := b.Publish(ctx, topic, events...); err != nil {
		t.Fatal(err)
	}
}
