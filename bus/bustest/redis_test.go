package bustest_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/redis"
)

// TestRedisKeepsTheContract is about the server that every first run uses, which can be taken away.
func TestRedisKeepsTheContract(t *testing.T) {
	bustest.Run(t, embeddedRedisHarness(t))
}

// TestRealRedisKeepsTheContract is about the server that TIDINGS_TEST_REDIS names.
func TestRealRedisKeepsTheContract(t *testing.T) {
	url := os.Getenv("TIDINGS_TEST_REDIS")
	if url == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("TIDINGS_TEST_REDIS is not set")
		}
		t.Skip("it needs a real server: TIDINGS_TEST_REDIS is not set")
	}
	bustest.Run(t, redisHarness(url))
}

func embeddedRedisHarness(t *testing.T) bustest.Harness {
	server := &restartableRedis{cfg: embedded.RedisConfig{Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}}
	server.start(t)
	t.Cleanup(func() { server.stop(t) })
	h := redisHarness(server.r.URL())
	h.SetDown = server.setDown
	return h
}

func redisHarness(url string) bustest.Harness {
	open := func(t *testing.T, params string, opts []bus.Option) bus.Bus {
		opts = append([]bus.Option{redis.Backend(), bus.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil)))}, opts...)
		b, err := bus.Open(t.Context(), url+params, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const usual = "?drain=500ms" // one of the tests waits until it is over
	return bustest.Harness{
		Open: func(t *testing.T, opts ...bus.Option) bus.Bus { return open(t, usual, opts) },
		// The connection is asked whether it is alive while the handler is at work, and has to answer.
		OpenImpatient: func(t *testing.T, opts ...bus.Option) (bus.Bus, time.Duration) {
			return open(t, usual+"&ping.interval=50ms&answer.timeout=700ms", opts), 800 * time.Millisecond
		},
		Guarantees: bus.Guarantees{OrderedByKey: true},
		Put:        func(t *testing.T, topic, _ string, value []byte) { putMessage(t, url, topic, value) },
		Timeout:    time.Minute,
	}
}

// putMessage publishes by another client than the one under test.
func putMessage(t *testing.T, url, topic string, value []byte) {
	t.Helper()
	opts, err := goredis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(opts)
	defer c.Close()
	if err := c.Publish(t.Context(), topic, value).Err(); err != nil {
		t.Fatal(err)
	}
}

// restartableRedis is an embedded server that comes back where it was.
type restartableRedis struct {
	cfg embedded.RedisConfig
	r   *embedded.Redis
}

func (r *restartableRedis) start(t *testing.T) {
	t.Helper()
	server, err := embedded.StartRedis(context.Background(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.r, r.cfg.Addr = server, server.Addr()
}

func (r *restartableRedis) stop(t *testing.T) {
	t.Helper()
	if r.r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.r.Close(ctx); err != nil {
		t.Error(err)
	}
	r.r = nil
}

func (r *restartableRedis) setDown(t *testing.T, down bool) {
	t.Helper()
	if down {
		r.stop(t)
	} else {
		r.start(t)
	}
}
