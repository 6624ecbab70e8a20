package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

var quiet = bus.WithLogger(slog.New(slog.DiscardHandler))

func subscription() bus.Subscription { return bus.Subscription{Group: "g", Topics: []string{"t"}} }

// deliver is a backend that makes one delivery and ends with what it hears of it.
func deliver(d bus.Delivery) *fakeBus {
	return &fakeBus{subscribe: func(ctx context.Context, _ bus.Subscription, h bus.Handler) error { return h(ctx, d) }}
}

func TestPublishChecksEveryEventBeforeOneIsSent(t *testing.T) {
	sent := 0
	b := bus.Wrap(&fakeBus{publish: func(_ context.Context, _ string, events []bus.Event) error {
		sent += len(events)
		return nil
	}})
	bad := valid()
	bad.Source, bad.Key = "", ""
	err := b.Publish(t.Context(), "t", valid(), bad)
	if want := "bus: publish to \"t\": event 1: Source is empty\nKey is empty"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := b.Publish(t.Context(), "", valid()); err == nil {
		t.Error("an event went to no topic")
	}
	if err := b.Publish(t.Context(), "t"); err != nil || sent != 0 {
		t.Errorf("publishing nothing: %v, and %d events were sent", err, sent)
	}
	if err := b.Publish(t.Context(), "t", valid(), valid()); err != nil || sent != 2 {
		t.Errorf("Publish: %v, and %d events were sent, want 2", err, sent)
	}
}

func TestPublishLetsTheBackendFillInAt(t *testing.T) {
	b := bus.Wrap(&fakeBus{publish: func(_ context.Context, topic string, events []bus.Event) error {
		events[0].At = bus.Position{Topic: topic, Offset: 9}
		return nil
	}})
	events := []bus.Event{valid()}
	if err := b.Publish(t.Context(), "t", events...); err != nil || events[0].At.Offset != 9 {
		t.Errorf("At is %+v, %v", events[0].At, err)
	}
}

type ctxKey struct{}

func TestHooksSeeEveryCallAndItsOutcome(t *testing.T) {
	var heard []string
	note := func(format string, args ...any) { heard = append(heard, fmt.Sprintf(format, args...)) }
	hooks := bus.Hooks{
		Publish: func(ctx context.Context, topic string, events []bus.Event) (context.Context, func(error)) {
			note("publish %d to %s", len(events), topic)
			return context.WithValue(ctx, ctxKey{}, "p"), func(err error) { note("published: %v", err) }
		},
		Handle: func(ctx context.Context, group string, d bus.Delivery) (context.Context, func(error)) {
			note("handle %d for %s", len(d.Events), group)
			return context.WithValue(ctx, ctxKey{}, "h"), func(err error) { note("handled: %v", err) }
		},
		Gap:   func(_ context.Context, group string, g bus.Gap) { note("gap of %d for %s", g.Missed, group) },
		Ready: func(group string, ready bool) { note("%s ready: %v", group, ready) },
	}
	inner := &fakeBus{
		publish: func(ctx context.Context, _ string, _ []bus.Event) error {
			note("backend publishes under %v", ctx.Value(ctxKey{}))
			return errCause
		},
		subscribe: func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			s.OnReady(true)
			s.OnGap(ctx, bus.Gap{Missed: 3})
			err := h(ctx, bus.Delivery{Events: make([]bus.Event, 2)})
			s.OnReady(false)
			return err
		},
	}
	b := bus.Wrap(inner, bus.WithHooks(hooks), quiet)
	if err := b.Publish(t.Context(), "t", valid()); !errors.Is(err, errCause) {
		t.Errorf("Publish: %v", err)
	}
	err := b.Subscribe(t.Context(), subscription(), func(ctx context.Context, _ bus.Delivery) error {
		note("handler runs under %v", ctx.Value(ctxKey{}))
		return bus.Permanent(errCause)
	})
	if !errors.Is(err, errCause) {
		t.Errorf("Subscribe: %v", err)
	}
	want := []string{
		"publish 1 to t", "backend publishes under p", "published: the disk is full",
		"g ready: true", "gap of 3 for g",
		"handle 2 for g", "handler runs under h", "handled: the disk is full",
		"g ready: false",
	}
	if !slices.Equal(heard, want) {
		t.Errorf("heard\n%s\nwant\n%s", strings.Join(heard, "\n"), strings.Join(want, "\n"))
	}
}

func TestHooksMayReturnNothing(t *testing.T) {
	hooks := bus.Hooks{
		Publish: func(context.Context, string, []bus.Event) (context.Context, func(error)) { return nil, nil },
		Handle:  func(context.Context, string, bus.Delivery) (context.Context, func(error)) { return nil, nil },
	}
	inner := deliver(bus.Delivery{})
	inner.publish = func(ctx context.Context, _ string, _ []bus.Event) error { return ctx.Err() }
	b := bus.Wrap(inner, bus.WithHooks(hooks))
	if err := b.Publish(t.Context(), "t", valid()); err != nil {
		t.Errorf("Publish: %v", err)
	}
	if err := b.Subscribe(t.Context(), subscription(), func(ctx context.Context, _ bus.Delivery) error { return ctx.Err() }); err != nil {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestSubscriptionsThatMakeNoSenseAreRefusedWithEveryFault(t *testing.T) {
	b := bus.Wrap(&fakeBus{})
	err := b.Subscribe(t.Context(), bus.Subscription{MaxBatch: -1}, nil)
	want := "bus: subscription: Group is empty\nTopics is empty\nMaxBatch is -1; it must be 1 or more, or 0 for 1000"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	err = b.Subscribe(t.Context(), bus.Subscription{Group: "g", Topics: []string{"a", ""}}, nil)
	if err == nil || err.Error() != "bus: subscription: Topics[1] is empty" {
		t.Errorf("got %v", err)
	}
}

func TestRequireIsRefusedWithWhatIsMissing(t *testing.T) {
	b := bus.Wrap(&fakeBus{guarantees: bus.Guarantees{Groups: true, Durable: true}})
	s := subscription()
	s.Require = bus.Guarantees{Durable: true, Replayable: true}
	var refused *bus.GuaranteeError
	if err := b.Subscribe(t.Context(), s, nil); !errors.As(err, &refused) {
		t.Fatalf("Subscribe: %v", err)
	}
	if refused.Group != "g" || refused.Missing != (bus.Guarantees{Replayable: true}) {
		t.Errorf("refused with %+v", refused)
	}
}

func TestTheBackendGetsASubscriptionThatIsFilledIn(t *testing.T) {
	var got bus.Subscription
	b := bus.Wrap(&fakeBus{subscribe: func(ctx context.Context, s bus.Subscription, _ bus.Handler) error {
		got = s
		s.OnReady(true)
		s.OnGap(ctx, bus.Gap{})
		return nil
	}}, quiet)
	if err := b.Subscribe(t.Context(), subscription(), nil); err != nil {
		t.Fatal(err)
	}
	if got.MaxBatch != bus.DefaultMaxBatch || got.Group != "g" || got.Resume != nil {
		t.Errorf("the backend got %+v", got)
	}
}

func TestReadinessIsToldOnlyWhenItChanges(t *testing.T) {
	var turns []bool
	b := bus.Wrap(&fakeBus{subscribe: func(_ context.Context, s bus.Subscription, _ bus.Handler) error {
		for _, ready := range []bool{false, true, true, false, false, true, false} {
			s.OnReady(ready)
		}
		return nil
	}})
	s := subscription()
	s.OnReady = func(ready bool) { turns = append(turns, ready) }
	if err := b.Subscribe(t.Context(), s, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(turns, []bool{true, false, true, false}) {
		t.Errorf("heard %v", turns)
	}
}

func TestGapsAreToldAndLogged(t *testing.T) {
	var logged bytes.Buffer
	gap := bus.Gap{At: bus.Position{Topic: "t", Partition: 2, Offset: 120}, Missed: 280, Source: "/users", Reason: "the log starts at 400"}
	b := bus.Wrap(&fakeBus{subscribe: func(ctx context.Context, s bus.Subscription, _ bus.Handler) error {
		s.OnGap(ctx, gap)
		return nil
	}}, bus.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
	s := subscription()
	var got bus.Gap
	s.OnGap = func(_ context.Context, g bus.Gap) { got = g }
	if err := b.Subscribe(t.Context(), s, nil); err != nil || got != gap {
		t.Errorf("heard %+v, %v", got, err)
	}
	for _, want := range []string{"group=g", "topic=t", "partition=2", "offset=120", "missed=280", "/users", "the log starts at 400"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %q: %s", want, &logged)
		}
	}
}

func TestPartitionsOfABackendWithoutALog(t *testing.T) {
	b := bus.Wrap(&fakeBus{})
	if _, err := b.(bus.Inspector).Partitions(t.Context(), "t"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}

// attempts runs a handler that fails n times with err, in a bubble where time costs nothing, and returns when it was
// called.
func attempts(t *testing.T, n int, fault error) (at []time.Duration) {
	t.Helper()
	start := time.Now()
	err := bus.Wrap(deliver(bus.Delivery{}), quiet).Subscribe(t.Context(), subscription(), func(context.Context, bus.Delivery) error {
		if at = append(at, time.Since(start)); len(at) <= n {
			return fault
		}
		return nil
	})
	if err != nil {
		t.Errorf("the backend heard %v", err)
	}
	return at
}

func TestADeliveryIsTriedAgainAfterAGrowingDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := attempts(t, 40, errCause)
		if len(at) != 41 {
			t.Fatalf("%d attempts, want 41", len(at))
		}
		expected := 100 * time.Millisecond
		for i := 1; i < len(at); i++ {
			delay := at[i] - at[i-1]
			if delay < expected/2 || delay > expected*3/2+time.Millisecond {
				t.Errorf("delay %d is %v, want %v or half as much more or less", i, delay, expected)
			}
			expected = min(expected*3/2, 30*time.Second)
		}
	})
}

func TestDelaysHaveJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(map[time.Duration]bool)
		for range 20 {
			seen[attempts(t, 1, errCause)[1]] = true
		}
		if len(seen) < 10 {
			t.Errorf("20 first delays have only %d values", len(seen))
		}
	})
}

func TestADeliveryIsTriedAgainAfterTheDelayItAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := attempts(t, 5, fmt.Errorf("wrapped: %w", bus.RetryAfter(7*time.Second, errCause)))
		for i := range at {
			if want := time.Duration(i) * 7 * time.Second; at[i] != want {
				t.Errorf("attempt %d came at %v, want %v", i, at[i], want)
			}
		}
		for _, when := range attempts(t, 5, bus.RetryAfter(-time.Second, errCause)) {
			if when != 0 {
				t.Errorf("after a delay below zero it came at %v", when)
			}
		}
	})
}

func TestARetryIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		b := bus.Wrap(deliver(bus.Delivery{Events: make([]bus.Event, 3)}), bus.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		calls := 0
		err := b.Subscribe(t.Context(), subscription(), func(context.Context, bus.Delivery) error {
			if calls++; calls == 1 {
				return bus.RetryAfter(time.Second, errCause)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"group=g", "events=3", "attempt=1", "after=1s", "the disk is full"} {
			if !strings.Contains(logged.String(), want) {
				t.Errorf("the log lacks %q: %s", want, &logged)
			}
		}
	})
}

// What the backend hears is what it has to act on, at once.
func TestSettledOutcomesPassThrough(t *testing.T) {
	at := bus.Position{Topic: "t", Partition: 1}
	for name, outcome := range map[string]error{
		"done":                  nil,
		"permanent":             fmt.Errorf("x: %w", bus.Permanent(errCause)),
		"permanent, with delay": bus.RetryAfter(time.Hour, bus.Permanent(errCause)),
		"reread":                fmt.Errorf("x: %w", bus.Reread(at)),
	} {
		calls := 0
		err := bus.Wrap(deliver(bus.Delivery{}), quiet).Subscribe(t.Context(), subscription(), func(context.Context, bus.Delivery) error {
			calls++
			return outcome
		})
		if err != outcome || calls != 1 {
			t.Errorf("%s: the backend heard %v after %d calls", name, err, calls)
		}
	}
}

var errTakenAway = errors.New("the partitions were taken away")

// cutShort makes a delivery whose context ends after d, and returns what the backend heard of it.
func cutShort(t *testing.T, d time.Duration, h bus.Handler) (heard error) {
	t.Helper()
	inner := &fakeBus{subscribe: func(ctx context.Context, _ bus.Subscription, h bus.Handler) error {
		ctx, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(d, func() { cancel(errTakenAway) })
		defer timer.Stop()
		heard = h(ctx, bus.Delivery{})
		return nil
	}}
	if err := bus.Wrap(inner, quiet).Subscribe(t.Context(), subscription(), h); err != nil {
		t.Error(err)
	}
	return heard
}

func TestADeliveryThatIsCutShort(t *testing.T) {
	calls := 0
	fail := func(err error) bus.Handler {
		return func(ctx context.Context, _ bus.Delivery) error {
			calls++
			<-ctx.Done()
			return err
		}
	}
	for name, tt := range map[string]struct {
		outcome, want error
	}{
		"done all the same":      {nil, nil},
		"failed":                 {errCause, errTakenAway},
		"failed by its context":  {context.Canceled, errTakenAway},
		"permanent all the same": {bus.Permanent(errCause), errCause},
	} {
		synctest.Test(t, func(t *testing.T) {
			calls = 0
			if heard := cutShort(t, time.Second, fail(tt.outcome)); !errors.Is(heard, tt.want) || calls != 1 {
				t.Errorf("%s: the backend heard %v after %d calls, want %v", name, heard, calls, tt.want)
			}
		})
	}
}

func TestADeliveryThatIsCutShortBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, start := 0, time.Now()
		heard := cutShort(t, time.Second, func(context.Context, bus.Delivery) error {
			calls++
			return bus.RetryAfter(time.Hour, errCause)
		})
		if !errors.Is(heard, errTakenAway) || calls != 1 || time.Since(start) != time.Second {
			t.Errorf("the backend heard %v after %d calls and %v", heard, calls, time.Since(start))
		}
	})
}

func TestReadinessHooksOfEachSubscriptionAreItsOwn(t *testing.T) {
	b := bus.Wrap(&fakeBus{subscribe: func(_ context.Context, s bus.Subscription, _ bus.Handler) error {
		s.OnReady(true)
		return nil
	}})
	heard := 0
	for range 2 {
		s := subscription()
		s.OnReady = func(bool) { heard++ }
		if err := b.Subscribe(t.Context(), s, nil); err != nil {
			t.Fatal(err)
		}
	}
	if heard != 2 {
		t.Errorf("OnReady was called %d times, want once for each", heard)
	}
}
