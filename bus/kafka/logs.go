package kafka

import (
	"context"
	"log/slog"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// quiet is for how long the same kind of trouble is not repeated in the log. librdkafka speaks of an absent broker
// several times a second.
const quiet = 30 * time.Second

// throttle passes one message a kind and period. It is safe for concurrent use.
type throttle struct {
	log  *slog.Logger
	now  func() time.Time
	mu   sync.Mutex
	last map[string]time.Time
}

// newThrottle passes on to log.
func newThrottle(log *slog.Logger) *throttle {
	return &throttle{log: log, now: time.Now, last: make(map[string]time.Time)}
}

// Log logs the message unless one of its kind was logged within the period; then it goes to the debug level.
func (t *throttle) Log(level slog.Level, kind, msg string, args ...any) {
	t.mu.Lock()
	now := t.now()
	last, seen := t.last[kind]
	silent := seen && now.Sub(last) < quiet
	if !silent {
		t.last[kind] = now
	}
	t.mu.Unlock()
	if silent {
		level = slog.LevelDebug
	}
	t.log.Log(context.Background(), level, msg, args...)
}

// again lets the next message of a kind through: the trouble was over in between.
func (t *throttle) again(kind string) {
	t.mu.Lock()
	delete(t.last, kind)
	t.mu.Unlock()
}

// librdkafkaLogs passes what librdkafka has to say to a logger.
type librdkafkaLogs struct {
	ch   chan ck.LogEvent
	done chan struct{}
}

// logsOf starts passing on; call stop once the client that logs there is closed.
func logsOf(t *throttle) *librdkafkaLogs {
	l := &librdkafkaLogs{ch: make(chan ck.LogEvent, 100), done: make(chan struct{})}
	go l.run(t)
	return l
}

// run passes on until stop.
func (l *librdkafkaLogs) run(t *throttle) {
	defer close(l.done)
	for e := range l.ch {
		t.Log(levelOf(e), "librdkafka "+e.Tag, "librdkafka: "+e.Message, "tag", e.Tag, "client", e.Name)
	}
}

// stop returns when all is passed on.
func (l *librdkafkaLogs) stop() {
	close(l.ch)
	<-l.done
}

// levelOf translates syslog's levels. What librdkafka reports as an error is mostly a broker that is away, which it
// gets over by itself, and what it says of the configuration is that a setting is experimental.
func levelOf(e ck.LogEvent) slog.Level {
	switch {
	case e.Tag == "CONFWARN":
		return slog.LevelDebug
	case e.Level <= 2:
		return slog.LevelError
	case e.Level <= 4:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// levelOfError tells what a person has to do something about (a permission, a password, a handler that takes too
// long) from a connection that comes and goes.
func levelOfError(err ck.Error) slog.Level {
	switch err.Code() {
	case ck.ErrTransport, ck.ErrResolve, ck.ErrTimedOut, ck.ErrAllBrokersDown:
		return slog.LevelDebug
	default:
		return slog.LevelWarn
	}
}
