package inbox

import (
	"context"
	"os"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/redis"
)

// redisURL is the real server, where one is named, or an embedded one.
func redisURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_REDIS"); url != "" {
		return url
	}
	r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: "127.0.0.1:0", Log: new(logs).logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r.URL()
}

// Redis keeps nothing: what was sent while a service was down is missed, and counted to the unit.
func TestOnRedis(t *testing.T) {
	b, err := bus.Open(t.Context(), redisURL(t), redis.Backend(), bus.WithLogger(new(logs).logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	missTogether(t, uniqueTopic(), b)
}
