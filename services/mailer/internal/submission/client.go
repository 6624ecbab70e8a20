package submission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	defaultIdle = 5 * time.Second // servers wait for minutes, but some count connections
	quitTimeout = time.Second     // for goodbyes

	firstHold   = 250 * time.Millisecond
	longestHold = 30 * time.Second
)

// Mail is what is handed over.
type Mail struct {
	From, To string // bare addresses; To's domain may be an international one
	Text     []byte // headers and body
}

// Client sends mails to one server. It is safe for concurrent use: mails that are sent at once share
// [Settings.Connections] connections, which stay open for the next ones and are closed by Run when there are none. Who
// sends more than that at once has some of them wait, while their time runs.
type Client struct {
	settings Settings
	log      *slog.Logger
	idle     time.Duration // how long a connection is kept for the next mail

	// sessions has a place for each connection. Who has taken one out may use it, or, where it is nil, make one.
	sessions chan *session

	mu     sync.Mutex
	failed error     // of the last connection; nil where it stood
	until  time.Time // when the next one may be tried
	delays *backoff.ExponentialBackOff
}

// New makes a client. Nothing is connected before the first mail.
func New(s Settings, log *slog.Logger) *Client {
	c := &Client{settings: s, log: log, idle: defaultIdle, sessions: make(chan *session, s.Connections)}
	for range s.Connections {
		c.sessions <- nil
	}
	c.delays = backoff.NewExponentialBackOff()
	c.delays.InitialInterval, c.delays.MaxInterval = firstHold, longestHold
	return c
}

// Send hands one mail over; it blocks until the server has answered, or ctx has ended. It takes the time that ctx gives,
// at most [Settings.Timeout]. See the package's documentation for its errors.
//
// Where no connection can be had, further mails fail by the same error without trying, for a quarter of a second at first
// and half a minute at last: a server that is asked a thousand times with a wrong password locks the account.
func (c *Client) Send(ctx context.Context, m Mail) error {
	ctx, cancel := context.WithTimeout(ctx, c.settings.Timeout)
	defer cancel()
	s, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer func() { c.put(s) }()
	if s != nil {
		reusable, begun, err := s.send(ctx, m)
		if !reusable {
			s.drop()
			s = nil
		}
		if begun || ctx.Err() != nil {
			return err
		}
		// It was closed while nobody used it, and nothing of the mail is with the server.
	}
	if s, err = c.connect(ctx); err != nil {
		return err
	}
	reusable, _, err := s.send(ctx, m)
	if !reusable {
		s.drop()
		s = nil
	}
	return err
}

// take waits for a connection, or for the right to make one, which is a nil session.
func (c *Client) take(ctx context.Context) (*session, error) {
	select {
	case s := <-c.sessions:
		return s, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("mail server: other mails have taken all the time: %w", context.Cause(ctx))
	}
}

// put gives back what take gave, with the connection that is there now.
func (c *Client) put(s *session) {
	if s != nil {
		s.used = time.Now()
	}
	c.sessions <- s
}

// connect makes a connection, unless one has failed just now.
func (c *Client) connect(ctx context.Context) (*session, error) {
	if err := c.held(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // nobody has asked the server, so there is nothing to hold against it
		return nil, fmt.Errorf("mail server: other mails have taken all the time: %w", context.Cause(ctx))
	}
	s, err := dial(ctx, &c.settings)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, late(ctx, err) // the service is stopping, which says nothing about the server
	}
	c.note(err)
	return s, late(ctx, err)
}

// held returns the error of the last connection while it is too early for another.
func (c *Client) held() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil && time.Now().Before(c.until) {
		return fmt.Errorf("not tried, for a moment ago there was: %w", c.failed)
	}
	return nil
}

// note keeps what came of a connection, and logs when that changes.
func (c *Client) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && c.failed != nil:
		c.log.Info("the mail server takes mails again", "server", c.settings.addr)
	case err != nil && c.failed == nil:
		c.log.Warn("the mail server can't be used; mails wait and are tried again", "server", c.settings.addr, "err", err)
	}
	c.failed = err
	if err == nil {
		c.delays.Reset()
	} else {
		c.until = time.Now().Add(c.delays.NextBackOff())
	}
}

// Run closes connections that nobody has used for some seconds, until ctx ends; then it waits for the mails that are
// being sent, closes all, and returns nil. Stop sending before.
func (c *Client) Run(ctx context.Context) error {
	tick := time.NewTicker(c.idle / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.sweep()
		case <-ctx.Done():
			c.close()
			return nil
		}
	}
}

// sweep closes what is idle for too long, without waiting for what is in use.
func (c *Client) sweep() {
	until := time.Now().Add(quitTimeout)
	for range cap(c.sessions) {
		select {
		case s := <-c.sessions:
			if s != nil && time.Since(s.used) >= c.idle {
				s.quit(until)
				s = nil
			}
			c.sessions <- s
		default:
			return
		}
	}
}

func (c *Client) close() {
	until := time.Now().Add(quitTimeout) // for all together: a service has seconds to stop
	for range cap(c.sessions) {
		if s := <-c.sessions; s != nil {
			s.quit(until)
		}
	}
	for range cap(c.sessions) { // Run may be called again
		c.sessions <- nil
	}
}
