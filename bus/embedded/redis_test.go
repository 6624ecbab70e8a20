package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/tidings-dev/tidings/bus/embedded"
)

func startRedis(t *testing.T, log *slog.Logger) *embedded.Redis {
	t.Helper()
	r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: "127.0.0.1:0", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopRedis(t, r) })
	return r
}

func stopRedis(t *testing.T, r *embedded.Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
}

func redisClient(t *testing.T, r *embedded.Redis) *goredis.Client {
	t.Helper()
	opts, err := goredis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	opts.MaxRetries, opts.DialerRetries = -1, 1
	c := goredis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// stuckSubscriber subscribes and then reads no more.
func stuckSubscriber(t *testing.T, r *embedded.Redis, channel string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%s\r\n", len(channel), channel); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestRedisCarriesWhatIsPublished(t *testing.T) {
	r := startRedis(t, slog.New(slog.DiscardHandler))
	if r.URL() != "redis://"+r.Addr()+"/0" || strings.HasSuffix(r.Addr(), ":0") {
		t.Errorf("URL %q, address %q", r.URL(), r.Addr())
	}
	c := redisClient(t, r)
	ps := c.Subscribe(t.Context(), "channel")
	defer ps.Close()
	if _, err := ps.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if n, err := c.Publish(t.Context(), "channel", i).Result(); err != nil || n != 1 {
			t.Fatalf("heard by %d: %v", n, err)
		}
	}
	for i := range 1000 {
		m, err := ps.ReceiveMessage(t.Context())
		if err != nil || m.Payload != fmt.Sprint(i) {
			t.Fatalf("message %d is %v: %v", i, m, err)
		}
	}
	if n, err := c.Publish(t.Context(), "other", "x").Result(); err != nil || n != 0 {
		t.Errorf("nobody listens, heard by %d: %v", n, err)
	}
}

// All wait for it, but not for ever, and the log says why.
func TestASubscriberThatDoesNotReadIsCutOffInTheEnd(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	r := startRedis(t, slog.New(slog.NewTextHandler(log, nil)))
	stuckSubscriber(t, r, "channel")
	c := redisClient(t, r)
	payload, start := make([]byte, 1<<20), time.Now()
	for heard := int64(1); heard > 0; {
		n, err := c.Publish(t.Context(), "channel", payload).Result()
		if err != nil {
			t.Fatal(err)
		}
		heard = n
		if time.Since(start) > 30*time.Second {
			t.Fatal("it is still counted among those who hear")
		}
	}
	if !strings.Contains(log.String(), "a client doesn't read and is cut off") {
		t.Errorf("logged: %s", log.String())
	}
}

func TestRedisClosesWhileASubscriberIsStuck(t *testing.T) {
	t.Parallel()
	r := startRedis(t, slog.New(slog.DiscardHandler))
	stuckSubscriber(t, r, "channel")
	c := redisClient(t, r)
	publishing := make(chan error, 1)
	go func() {
		payload := make([]byte, 1<<20)
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			err := c.Publish(ctx, "channel", payload).Err()
			cancel()
			if err != nil {
				publishing <- err
				return
			}
		}
	}()
	other := redisClient(t, r)
	for waits := false; !waits; { // until somebody else has to wait
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		waits = other.WithTimeout(100*time.Millisecond).Ping(ctx).Err() != nil
		cancel()
	}
	start := time.Now()
	stopRedis(t, r)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	<-publishing
}

func TestRedisHangsUpOnItsClientsAndCanBeStartedAgain(t *testing.T) {
	r := startRedis(t, slog.New(slog.DiscardHandler))
	conn := stuckSubscriber(t, r, "channel")
	stopRedis(t, r)
	stopRedis(t, r) // does nothing
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection ended with %v", err)
	}
	again, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: r.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	stopRedis(t, again)
}

func TestAWrongRedisConfigNamesTheMend(t *testing.T) {
	r := startRedis(t, slog.New(slog.DiscardHandler))
	for addr, want := range map[string]string{
		r.Addr():    "address " + r.Addr() + " is in use; stop the other process or pass another address",
		"0.0.0.0:0": "is not on loopback; pass 127.0.0.1:0",
		"16379":     `address "16379" is not host:port`,
	} {
		_, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: addr})
		if err == nil || !strings.HasPrefix(err.Error(), "embedded redis: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want: %s", addr, err, want)
		}
	}
}

func TestClosingRedisTellsWhenItsContextWasTooShort(t *testing.T) {
	r := startRedis(t, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Close returned %v", err)
	}
}

// syncBuffer is a buffer for a logger.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func ExampleStartRedis() {
	ctx := context.Background()
	r, err := embedded.StartRedis(ctx, embedded.RedisConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.HasPrefix(r.URL(), "redis://127.0.0.1:"))
	if err := r.Close(ctx); err != nil {
		panic(err)
	}
	// Output: true
}
