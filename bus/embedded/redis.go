package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// DefaultRedisAddr is where the embedded Redis listens unless it is told otherwise: a port of its own, so that it
// doesn't stand in the way of a real server on 6379.
const DefaultRedisAddr = "127.0.0.1:16379"

// RedisConfig says where the embedded Redis listens.
type RedisConfig struct {
	// Addr is host:port, on loopback; port 0 picks a free one. Empty is [DefaultRedisAddr].
	Addr string
	// Log hears of subscribers that were cut off; nil is [slog.Default].
	Log *slog.Logger
}

// Redis is a Redis server inside this process (miniredis), for PUBLISH and SUBSCRIBE on first runs, in tests and on
// laptops. It keeps nothing, asks for no password, and has no TLS and no ACL.
//
// It differs from the real server where a subscriber doesn't read. The real one buffers for it, up to
// client-output-buffer-limit, and everybody else goes on. Here nothing is buffered beyond what the system's sockets
// hold (some megabytes on loopback): then PUBLISH waits for that subscriber, and every command of every client
// waits with it, for one lock is held meanwhile. After 2 s the subscriber is cut off, that is logged, and all go
// on. Until its connection is gone PUBLISH counts it among those who heard. CLIENT knows SETNAME and GETNAME only.
type Redis struct {
	redis  *miniredis.Miniredis
	server *server.Server
	conns  *listener
	log    *slog.Logger
	addr   string

	accepting sync.WaitGroup
	closing   sync.Once
	closed    chan struct{}
}

// stuckLimit is how long a client may leave what it is sent unread while all others wait.
const stuckLimit = 2 * time.Second

// StartRedis starts a server and returns when it answers. It does not block otherwise: the server runs until Close.
// ctx bounds only the start. It returns an error that says what to change when the address is in use or not on
// loopback.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	r, err := startRedis(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	return r, nil
}

func startRedis(ctx context.Context, cfg RedisConfig) (_ *Redis, err error) {
	if cfg.Addr == "" {
		cfg.Addr = DefaultRedisAddr
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	r := &Redis{redis: miniredis.NewMiniRedis(), log: cfg.Log, closed: make(chan struct{})}
	if r.conns, err = listen(ctx, cfg.Addr); err != nil {
		return nil, err
	}
	r.addr = r.conns.Addr().String()
	// The first Dial starts it without a listener of its own; connections come from ours, which can hang up.
	first, err := r.redis.Dial()
	if err != nil {
		return nil, errors.Join(err, r.conns.Close())
	}
	r.server = r.redis.Server()
	r.accepting.Go(r.accept)
	return r, first.Close()
}

// accept serves connections until the listener is closed.
func (r *Redis) accept() {
	for {
		c, err := r.conns.Accept()
		switch {
		case err == nil:
			r.server.ServeConn(&impatientConn{Conn: c, log: r.log})
		case errors.Is(err, net.ErrClosed):
			return
		default: // the connection is gone already, or too many files are open
			r.log.Warn("embedded redis: a connection can't be accepted", "err", err)
			r.pause()
		}
	}
}

// pause lets what is short come back.
func (r *Redis) pause() {
	timer := time.NewTimer(10 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.redis.Ctx.Done():
	}
}

// Addr is host:port of the server, with the port that was picked.
func (r *Redis) Addr() string { return r.addr }

// URL is the address for [bus.Open]: "redis://127.0.0.1:16379/0".
func (r *Redis) URL() string { return "redis://" + r.addr + "/0" }

// Close stops the server and hangs up on every client. It blocks until that is done or ctx ends; then it goes on
// behind the caller's back, and the error says so. A second Close waits for the first.
func (r *Redis) Close(ctx context.Context) error {
	r.closing.Do(func() { go r.shutDown() })
	select {
	case <-r.closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("embedded redis: close: still hanging up: %w", context.Cause(ctx))
	}
}

func (r *Redis) shutDown() {
	defer close(r.closed)
	_ = r.conns.Close() // a listener that is closed already is as good
	r.accepting.Wait()
	// First, so that a PUBLISH which waits for a subscriber gives up, and with it the lock that closing needs.
	r.conns.hangUp()
	r.server.Close()
	r.redis.Close()
}

// impatientConn hangs up on a client that doesn't read what it is sent.
type impatientConn struct {
	net.Conn
	log  *slog.Logger
	once sync.Once
}

// Write implements net.Conn.
func (c *impatientConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(stuckLimit)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.once.Do(func() {
			c.log.Warn("embedded redis: a client doesn't read and is cut off; all others waited for it",
				"client", c.RemoteAddr().String(), "waited", stuckLimit)
		})
		_ = c.Close() // the timeout is the error that counts
	}
	return n, err
}
