package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/config"
)

// stale is after how long an outcome of publishing says nothing any more. A relay that leads publishes every 5 s, and be
// it to repeat its last number; one that no longer leads publishes nothing, and is not to be held to its last try.
const stale = 20 * time.Second

// sending is a bus that remembers what came of the last publishing. Without a log there is nobody to ask how the bus is,
// and the repeated numbers of an idle owner are what finds out. It is safe for concurrent use.
type sending struct {
	bus.Bus

	mu  sync.Mutex
	at  time.Time
	err error // of a publishing of which nothing got through
}

// Publish publishes, and remembers the outcome.
func (s *sending) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	err := s.Bus.Publish(ctx, topic, events...)
	if errors.Is(err, context.Canceled) || errors.Is(err, bus.ErrClosed) {
		return err // we end; it is not the bus
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.err = time.Now(), nil
	if some := (*bus.PublishError)(nil); err != nil && (!errors.As(err, &some) || len(some.Failed) == len(events)) {
		s.err = err
	}
	return err
}

// Partitions asks the bus within, as the relay does to find what a log lacks.
func (s *sending) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	in, ok := s.Bus.(bus.Inspector)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return in.Partitions(ctx, topics...)
}

// fault returns why nothing got through last; nil where something did, or nothing was tried of late.
func (s *sending) fault(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.at) > stale {
		return nil
	}
	return s.err
}

// reason is the cause in an error of publishing: what the server answered, rather than how many events it was about.
func reason(err error) string {
	if some := (*bus.PublishError)(nil); errors.As(err, &some) {
		err = some.Unwrap()
	}
	return config.Redact(err.Error())
}
