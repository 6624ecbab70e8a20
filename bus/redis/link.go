package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// link is one connection to the server, with a client of its own that never has another. go-redis connects again by
// itself wherever it can, and a subscription that does so has lost events without a word (PubSub.Receive makes a
// new connection before it returns the error of the old one). Here whoever uses a link hears of its end, and
// decides.
type link struct {
	client *goredis.Client
	conn   *watchedConn
}

// errSpent is what go-redis gets when it tries to connect again.
var errSpent = errors.New("redis: the connection is lost")

// connect makes a link, within dial.timeout. Nothing but the handshake of TLS has been said on it yet.
func connect(ctx context.Context, s settings) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.dialTimeout)
	defer cancel()
	conn, err := dial(ctx, s)
	if err != nil {
		return nil, err
	}
	l := &link{conn: &watchedConn{Conn: conn, made: time.Now()}}
	var spent atomic.Bool
	l.client = goredis.NewClient(&goredis.Options{
		Addr: s.addr,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if spent.Swap(true) {
				return nil, errSpent
			}
			return l.conn, nil
		},
		Username: s.username, Password: s.password, ClientName: s.clientName,
		// Nothing of the third protocol is used here, and the second costs less to read.
		Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1,
		ReadTimeout: s.answerTimeout, WriteTimeout: s.answerTimeout,
		PoolSize: 1, PipelinePoolSize: -1, ConnMaxIdleTime: -1,
		ReadBufferSize: linkBuffer, WriteBufferSize: linkBuffer,
	})
	return l, nil
}

// linkBuffer is what is read or written at once.
const linkBuffer = 64 << 10

func dial(ctx context.Context, s settings) (net.Conn, error) {
	if s.tls == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	}
	return (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", s.addr)
}

// cut ends whatever the link is used for at the moment, with an error. It may be called at any time.
func (l *link) cut() { _ = l.conn.Close() }

// closed reports whether nothing more can be sent. go-redis closes the connection by itself where the server refused
// its greeting: a wrong password, say.
func (l *link) closed() bool { return l.conn.shut.Load() }

// close gives the link back. Nobody may use it any more.
func (l *link) close() {
	l.cut()
	_ = l.client.Close() // it closes the connection again, which is an error
}

// watchedConn knows when something last came, and says when what came has been used up.
type watchedConn struct {
	net.Conn
	made time.Time
	seen atomic.Int64 // when, as a Duration since made
	shut atomic.Bool
	// drained, where set, is called by the reader of the link when it has to ask the system for more.
	drained func()
}

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	if c.drained != nil {
		c.drained()
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.seen.Store(int64(time.Since(c.made)))
	}
	return n, err
}

// Close implements net.Conn.
func (c *watchedConn) Close() error {
	c.shut.Store(true)
	return c.Conn.Close()
}

// since reports whether something has come since t.
func (c *watchedConn) since(t time.Time) bool { return time.Duration(c.seen.Load()) >= t.Sub(c.made) }

// refused returns the server's own words, where err is an answer of the server and the connection is all right.
func refused(err error) (goredis.Error, bool) {
	if err == nil {
		return nil, false
	}
	var answer goredis.Error
	if errors.As(err, &answer) && !errors.Is(err, goredis.Nil) {
		return answer, true
	}
	return nil, false
}
