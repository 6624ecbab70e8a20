package bustest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func newEvent(t *testing.T, key string, v uint64) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/test", key, v, wrapperspb.String(fmt.Sprint(key, v)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func publish(t *testing.T, b bus.Bus, topic string, events ...bus.Event) {
	t.Helper()
	if err := b.Publish(t.Context(), topic, events...); err != nil {
		t.Fatal(err)
	}
}

// subscribe starts a subscription, waits until it stands, and runs it until the test ends or end is called, which
// returns what Subscribe returned.
func subscribe(t *testing.T, b bus.Bus, s bus.Subscription, h bus.Handler) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, result := make(chan struct{}), make(chan error, 1)
	first, inner := sync.OnceFunc(func() { close(ready) }), s.OnReady
	s.OnReady = func(is bool) {
		if inner != nil {
			inner(is)
		}
		first()
	}
	go func() { result <- b.Subscribe(ctx, s, h) }()
	<-ready
	end = sync.OnceValue(func() error { cancel(); return <-result })
	t.Cleanup(func() { _ = end() })
	return end
}

func reader(topics ...string) bus.Subscription {
	return bus.Subscription{Group: "readers", Topics: topics}
}

// seen collects what a handler was given.
type seen struct {
	mu     sync.Mutex
	values []string
	ranges []bus.Range
}

func (s *seen) handle(_ context.Context, d bus.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range d.Events {
		m, err := bus.Decode[*wrapperspb.StringValue](e)
		if err != nil {
			return err
		}
		s.values = append(s.values, m.GetValue())
	}
	s.ranges = append(s.ranges, d.Ranges...)
	return nil
}

func (s *seen) sorted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.values))
}

func TestPublishedIsWhatWasStoredInOrder(t *testing.T) {
	r := bustest.NewRecorder()
	e := newEvent(t, "a", 1)
	e.Data = bytes.Clone(e.Data)
	publish(t, r, "t", e, newEvent(t, "b", 1), newEvent(t, "a", 2))
	e.Data[2] = 'X' // the publisher's own memory
	got := bustest.Messages[*wrapperspb.StringValue](r, "t")
	if len(got) != 3 || got[0].GetValue() != "a1" || got[1].GetValue() != "b1" || got[2].GetValue() != "a2" {
		t.Errorf("messages: %v", got)
	}
	if other := bustest.Messages[*wrapperspb.Int64Value](r, "t"); len(other) != 0 {
		t.Errorf("messages of another type: %v", other)
	}
	all := r.Published("t")
	if all[0].At.Topic != "t" || all[0].At.Log == "" || all[0].At.Partition != all[2].At.Partition || all[2].At.Offset <= all[0].At.Offset {
		t.Errorf("stored at %+v and %+v", all[0].At, all[2].At)
	}
	if none := r.Published("elsewhere"); len(none) != 0 {
		t.Errorf("published elsewhere: %v", none)
	}
}

func TestWaitPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bustest.NewRecorder()
		go func() {
			for v := range 3 {
				<-time.After(time.Minute) // of the bubble's time
				publish(t, r, "t", newEvent(t, "a", uint64(v+1)))
			}
		}()
		if got, err := r.WaitPublished(t.Context(), "t", 3); err != nil || len(got) != 3 {
			t.Errorf("got %d events, %v", len(got), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := r.WaitPublished(ctx, "t", 4); !errors.Is(err, context.DeadlineExceeded) || len(got) != 3 {
			t.Errorf("got %d events, %v", len(got), err)
		}
	})
}

func TestDrainWaitsForTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bustest.NewRecorder()
		if err := r.Drain(t.Context(), "readers", "t"); err != nil {
			t.Errorf("with nothing published: %v", err)
		}
		publish(t, r, "t", newEvent(t, "a", 1), newEvent(t, "b", 1))
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Drain(brief, "readers", "t"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a reader: %v", err)
		}
		start, handled := time.Now(), time.Duration(0)
		end := subscribe(t, r, reader("t"), func(context.Context, bus.Delivery) error {
			<-time.After(time.Hour)
			handled = time.Since(start)
			return nil
		})
		if err := r.Drain(t.Context(), "readers", "t"); err != nil || handled != time.Hour {
			t.Errorf("drained after %v: %v", handled, err)
		}
		if err := end(); err != nil {
			t.Errorf("Subscribe: %v", err)
		}
		if err := r.Drain(t.Context(), "readers", "t"); err != nil {
			t.Errorf("after the reader has left: %v", err)
		}
	})
}

func TestFailPublishFailsTheKeysLaterEventsToo(t *testing.T) {
	r := bustest.NewRecorder()
	full := errors.New("the disk is full")
	r.FailPublish(func(topic string, e bus.Event) error {
		if topic == "t" && e.Key == "a" && e.Version == 2 {
			return full
		}
		return nil
	})
	es := []bus.Event{newEvent(t, "a", 1), newEvent(t, "b", 1), newEvent(t, "a", 2), newEvent(t, "a", 3), newEvent(t, "b", 2)}
	err := r.Publish(t.Context(), "t", es...)
	var failed *bus.PublishError
	if !errors.As(err, &failed) || !errors.Is(err, full) || failed.Topic != "t" {
		t.Fatalf("Publish: %v", err)
	}
	if len(failed.Failed) != 2 || failed.Failed[2] != full || failed.Failed[3] == nil {
		t.Errorf("failed: %v", failed.Failed)
	}
	for i, e := range es {
		if acknowledged := e.At != (bus.Position{}); acknowledged != (failed.Failed[i] == nil) {
			t.Errorf("event %d is at %+v, and failed with %v", i, e.At, failed.Failed[i])
		}
	}
	if got := len(r.Published("t")); got != 3 {
		t.Errorf("%d events are stored, want 3", got)
	}
	r.FailPublish(nil)
	publish(t, r, "t", es[2:4]...)
	if got := bustest.Messages[*wrapperspb.StringValue](r, "t"); len(got) != 5 || got[4].GetValue() != "a3" {
		t.Errorf("messages: %v", got)
	}
}

func TestAnEventWhoseAcknowledgementIsLostIsStored(t *testing.T) {
	r := bustest.NewRecorder()
	r.FailPublish(func(_ string, e bus.Event) error {
		return fmt.Errorf("the connection broke: %w", bustest.ErrStored)
	})
	e := []bus.Event{newEvent(t, "a", 1)}
	if err := r.Publish(t.Context(), "t", e...); !errors.Is(err, bustest.ErrStored) || e[0].At != (bus.Position{}) {
		t.Errorf("Publish: %v, at %+v", err, e[0].At)
	}
	if got := len(r.Published("t")); got != 1 {
		t.Errorf("%d events are stored, want 1", got)
	}
}

func TestEverythingWaitsWhileTheBrokerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bustest.NewRecorder()
		publish(t, r, "t", newEvent(t, "a", 1))
		r.SetDown(true)
		start, late := time.Now(), newEvent(t, "a", 2)
		go func() { <-time.After(time.Hour); r.SetDown(false) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.Partitions(ctx, "t"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Partitions: %v", err)
		}
		if err := r.Publish(ctx, "t", late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish: %v", err)
		}
		publish(t, r, "t", late)
		if took := time.Since(start); took != time.Hour || len(r.Published("t")) != 2 {
			t.Errorf("%d events were stored after %v", len(r.Published("t")), took)
		}
	})
}

func TestADeliveryInHandLivesThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bustest.NewRecorder()
		publish(t, r, "t", newEvent(t, "a", 1))
		turns := make(chan string, 10)
		s := reader("t")
		s.OnReady = func(ready bool) { turns <- fmt.Sprint(ready) }
		end := subscribe(t, r, s, func(ctx context.Context, _ bus.Delivery) error {
			r.SetDown(true)
			<-time.After(time.Hour)
			turns <- "handled"
			return ctx.Err()
		})
		if err := r.Drain(t.Context(), "readers", "t"); err != nil {
			t.Error(err)
		}
		r.SetDown(false)
		synctest.Wait()
		if err := end(); err != nil {
			t.Error(err)
		}
		close(turns)
		var all []string
		for turn := range turns {
			all = append(all, turn)
		}
		if got := strings.Join(all, " "); got != "true false handled true false" {
			t.Errorf("what happened: %s", got)
		}
	})
}

func TestCloseLetsGoOfAPublishThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bustest.NewRecorder()
		r.SetDown(true)
		published := make(chan error, 1)
		e := newEvent(t, "a", 1)
		go func() { published <- r.Publish(t.Context(), "t", e) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if err := <-published; !errors.Is(err, bus.ErrClosed) {
			t.Errorf("Publish: %v", err)
		}
	})
}

func TestCloseEndsSubscriptions(t *testing.T) {
	r := bustest.NewRecorder()
	publish(t, r, "t", newEvent(t, "a", 1))
	began := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- r.Subscribe(t.Context(), reader("t"), func(ctx context.Context, _ bus.Delivery) error {
			close(began)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-began
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestConnectionsShareTheMemoryAndCloseOnTheirOwn(t *testing.T) {
	r := bustest.NewRecorder()
	b, err := bus.Open(t.Context(), "recorder://memory", r.Backend())
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, "t", newEvent(t, "a", 1))
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, r, "t", newEvent(t, "a", 2))
	if got := len(r.Published("t")); got != 2 {
		t.Errorf("%d events are stored, want 2", got)
	}
	_, err = bus.Open(t.Context(), "recorder://memory?x=1", r.Backend())
	if err == nil || err.Error() != `bus: recorder://memory?x=1: unknown parameter "x"; there are none` {
		t.Errorf("Open: %v", err)
	}
}
