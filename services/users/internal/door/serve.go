package door

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// timeouts says how long a client may take.
type timeouts struct {
	header time.Duration
	read   time.Duration // header and body
	// write is from the end of the header to the end of the answer. An answer that comes later is lost, and a commit
	// waits for the database's lock for 10 s at most: so it is longer than reading and committing together.
	write time.Duration
	// idle is how long a connection may stay open with nothing on it.
	idle time.Duration
	// stop is how long requests in hand may go on once the door is being closed.
	stop time.Duration
}

// usualTimeouts leaves an honest client on a slow line plenty of time, and a connection that only holds on to the
// service little. Tests have shorter ones.
func usualTimeouts() timeouts {
	return timeouts{header: 5 * time.Second, read: 10 * time.Second, write: 30 * time.Second, idle: 2 * time.Minute, stop: 3 * time.Second}
}

// Limits of a request's header, in bytes. net/http refuses what is over maxRawHeader, in plain text; what is over
// maxHeader is refused by the door, in its own words.
const (
	maxRawHeader = 256 << 10
	maxHeader    = 16 << 10
)

// checkHeader returns a *problem where r's header is too large: its names and values, the path and the host.
func checkHeader(r *http.Request) error {
	n := len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	if n > maxHeader {
		return newProblem(http.StatusRequestHeaderFieldsTooLarge, "the request's header is over %d bytes", maxHeader)
	}
	return nil
}

// Serve answers on l until ctx ends. Then it takes no more requests, lets those in hand finish, cuts off after 3 s
// what is still going on, and returns nil once no write is under way. It closes l. Call it once.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	// Requests don't end with ctx: those in hand may finish.
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s := &http.Server{
		Handler:           d,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: d.timeouts.header,
		ReadTimeout:       d.timeouts.read,
		WriteTimeout:      d.timeouts.write,
		IdleTimeout:       d.timeouts.idle,
		MaxHeaderBytes:    maxRawHeader,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug), // clients that break off, above all
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("door: serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	d.stop(s, cancel)
	<-served
	return nil
}

// stop ends s. What it cuts off it waits for: a commit that has begun can't be called back.
func (d *Door) stop(s *http.Server, cancel func()) {
	ctx, done := context.WithTimeout(context.Background(), d.timeouts.stop)
	defer done()
	if s.Shutdown(ctx) == nil {
		return
	}
	d.log.Warn("the write door cut off requests that went on for too long", "after", d.timeouts.stop)
	_ = s.Close() // its listener is closed already
	cancel()      // from here on no write begins
	d.inHand.Lock()
	defer d.inHand.Unlock()
}
