package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/redis"
)

// patience is how long a test waits for what has to happen.
const patience = 60 * time.Second

// serverURL is the address of the server that this run is about: a real one where TIDINGS_TEST_REDIS names it, else
// an embedded one for this test.
func serverURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_REDIS"); url != "" {
		return url
	}
	return startEmbedded(t, "127.0.0.1:0").URL()
}

func startEmbedded(t testing.TB, addr string) *embedded.Redis {
	t.Helper()
	r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: addr, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopEmbedded(t, r) })
	return r
}

func stopEmbedded(t testing.TB, r *embedded.Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
}

// open opens a bus whose parameters are appended to url: "buffer=1MiB".
func open(t testing.TB, url string, params ...string) bus.Bus {
	t.Helper()
	if len(params) > 0 {
		url += "?" + strings.Join(params, "&")
	}
	b, err := bus.Open(t.Context(), url, redis.Backend(), bus.WithLogger(logger(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func closeBus(t testing.TB, b bus.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// logger writes to the test's log.
func logger(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.stop)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// testWriter stops writing when the test ends, for a test's log must not be written to after.
type testWriter struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(time.Now().Format("05.000 ") + strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func (w *testWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}

// unique makes a name for a topic or group that no other test uses.
func unique(t testing.TB, what string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, t.Name())
	return fmt.Sprintf("%s.%.60s.%x", what, name, time.Now().UnixNano())
}

// event makes version v of key, which says so in its data too.
func event(key string, v int) bus.Event {
	return bus.Event{
		ID: fmt.Sprintf("%s-%d", key, v), Source: "/test", Type: "test.Happened", Key: key, Version: uint64(v),
		Time: time.Now().UTC(), Data: []byte(fmt.Sprintf("%s %d", key, v)),
	}
}

func publish(t testing.TB, b bus.Bus, topic string, all ...bus.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Publish(ctx, topic, all...); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// subscriber runs a subscription in the background and keeps what it delivers.
type subscriber struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done

	mu         sync.Mutex
	deliveries int
	heartbeats []bus.Heartbeat
	events     []bus.Event
	ready      []bool
	gaps       []bus.Gap
}

// subscribe starts a subscription; handle is called before a delivery is kept, and may be nil.
func subscribe(t testing.TB, b bus.Bus, sub bus.Subscription, handle bus.Handler) *subscriber {
	ctx, cancel := context.WithCancel(t.Context())
	s := &subscriber{t: t, cancel: cancel, done: make(chan struct{})}
	onReady, onGap := sub.OnReady, sub.OnGap
	sub.OnReady = func(ready bool) {
		s.mu.Lock()
		s.ready = append(s.ready, ready)
		s.mu.Unlock()
		if onReady != nil {
			onReady(ready)
		}
	}
	sub.OnGap = func(ctx context.Context, g bus.Gap) {
		s.mu.Lock()
		s.gaps = append(s.gaps, g)
		s.mu.Unlock()
		if onGap != nil {
			onGap(ctx, g)
		}
	}
	go func() {
		defer close(s.done)
		s.err = b.Subscribe(ctx, sub, func(ctx context.Context, d bus.Delivery) error {
			if handle != nil {
				if err := handle(ctx, d); err != nil {
					return err
				}
			}
			s.keep(d)
			return nil
		})
	}()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *subscriber) keep(d bus.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, d.Events...)
	s.heartbeats = append(s.heartbeats, d.Heartbeats...)
	s.deliveries++
}

// stop ends the subscription and returns what Subscribe returned.
func (s *subscriber) stop() error {
	s.cancel()
	return s.wait()
}

func (s *subscriber) wait() error {
	select {
	case <-s.done:
		return s.err
	case <-time.After(patience):
		s.t.Error("Subscribe doesn't return")
		return nil
	}
}

func (s *subscriber) got() []bus.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]bus.Event(nil), s.events...)
}

func (s *subscriber) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

func (s *subscriber) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ready) > 0 && s.ready[len(s.ready)-1]
}

func (s *subscriber) waitFor(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d events", n), func() bool {
		select {
		case <-s.done:
			s.t.Fatalf("Subscribe returned %v after %d events", s.err, s.count())
		default:
		}
		return s.count() >= n
	})
}

// capture keeps what is logged.
type capture struct {
	mu sync.Mutex
	b  strings.Builder
}

func (c *capture) logger() *slog.Logger { return slog.New(slog.NewTextHandler(c, nil)) }

// Write implements io.Writer.
func (c *capture) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(b)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}
