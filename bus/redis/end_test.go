package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
)

// ending is a subscription that is to end while it has received what is not handled yet.
type ending struct {
	b       bus.Bus
	s       *subscription
	end     context.CancelFunc
	ended   chan error
	handled atomic.Int64
	counted atomic.Uint64 // by gaps
}

// startEnding subscribes with deliveries of at most 30 events, and returns once it stands.
func startEnding(t *testing.T, params string, h bus.Handler) *ending {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: "127.0.0.1:0", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close(context.Background()) })
	e := &ending{ended: make(chan error, 1)}
	backend := Backend()
	var c *connection
	inner := backend.Open
	backend.Open = func(ctx context.Context, u *url.URL, log *slog.Logger) (bus.Bus, error) {
		b, err := inner(ctx, u, log)
		c, _ = b.(*connection)
		return b, err
	}
	if e.b, err = bus.Open(t.Context(), server.URL()+params, backend, bus.WithLogger(quiet)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.b.Close(context.Background()) })
	ready := make(chan struct{})
	e.s = newSubscription(c, bus.Subscription{
		Group: "g", Topics: []string{"topic"}, MaxBatch: 30,
		OnReady: func(r bool) {
			if r {
				close(ready)
			}
		},
		OnGap: func(_ context.Context, g bus.Gap) { e.counted.Add(g.Missed) },
	}, func(ctx context.Context, d bus.Delivery) error {
		err := h(ctx, d)
		if err == nil {
			e.handled.Add(int64(len(d.Events)))
		}
		return err
	})
	ctx, cancel := context.WithCancel(t.Context())
	e.end = cancel
	go func() { e.ended <- e.s.run(ctx) }()
	<-ready
	return e
}

// publish publishes an event, then 99 more while it is handled, and waits until all those have been received.
func (e *ending) publish(t *testing.T, inHand <-chan struct{}) {
	t.Helper()
	es := make([]bus.Event, 100)
	for i := range es {
		es[i] = bus.Event{ID: fmt.Sprint(i), Source: "/s", Type: "t", Key: "k"}
	}
	if err := e.b.Publish(t.Context(), "topic", es[:1]...); err != nil {
		t.Fatal(err)
	}
	<-inHand
	if err := e.b.Publish(t.Context(), "topic", es[1:]...); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for held := 0; held < 99; {
		e.s.queue.mu.Lock()
		held = len(e.s.queue.items) - e.s.queue.head
		e.s.queue.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("%d were received", held)
		}
	}
}

// What was received and can't be handled any more is lost with the subscription, and counted.
func TestWhatIsNotHandledAtTheEndIsCounted(t *testing.T) {
	inHand := make(chan struct{}, 100)
	e := startEnding(t, "?drain=50ms", func(ctx context.Context, _ bus.Delivery) error {
		inHand <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	e.publish(t, inHand)
	e.end()
	if err := <-e.ended; err != nil {
		t.Errorf("Subscribe returned %v", err)
	}
	if e.handled.Load() != 0 || e.counted.Load() != 100 {
		t.Errorf("%d were handled, %d counted", e.handled.Load(), e.counted.Load())
	}
}

// With time enough the end of a subscription loses nothing that had been received.
func TestWhatWasReceivedIsHandledAtTheEnd(t *testing.T) {
	inHand, goOn := make(chan struct{}, 100), make(chan struct{})
	e := startEnding(t, "?drain=30s", func(context.Context, bus.Delivery) error {
		inHand <- struct{}{}
		<-goOn
		return nil
	})
	e.publish(t, inHand)
	e.end()
	for over := false; !over; { // nothing more is read, and drain has begun
		e.s.queue.mu.Lock()
		over = e.s.queue.closed
		e.s.queue.mu.Unlock()
	}
	close(goOn)
	if err := <-e.ended; err != nil {
		t.Errorf("Subscribe returned %v", err)
	}
	if e.handled.Load() != 100 || e.counted.Load() != 0 {
		t.Errorf("%d were handled, %d counted", e.handled.Load(), e.counted.Load())
	}
}

// An error that ends the subscription is known to its caller, what goes with it is not.
func TestWhatAPermanentErrorLeavesIsCounted(t *testing.T) {
	fault := bus.Permanent(errors.New("this never works"))
	inHand, goOn := make(chan struct{}, 100), make(chan struct{})
	e := startEnding(t, "", func(context.Context, bus.Delivery) error {
		inHand <- struct{}{}
		<-goOn
		return fault
	})
	e.publish(t, inHand)
	close(goOn)
	if err := <-e.ended; !errors.Is(err, fault) {
		t.Errorf("Subscribe returned %v", err)
	}
	if e.handled.Load() != 0 || e.counted.Load() != 100 {
		t.Errorf("%d were handled, %d counted", e.handled.Load(), e.counted.Load())
	}
	e.end()
}
