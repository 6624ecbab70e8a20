package bustest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func TestATopicMadeAnewIsReadFromItsStart(t *testing.T) {
	for name, resume := range map[string]bool{"by the broker's position": false, "by Resume": true} {
		t.Run(name, func(t *testing.T) {
			r, got := bustest.NewRecorder(), &seen{}
			s := reader("t")
			s.Start = bus.Latest()
			logs := make(map[string]bool)
			if resume {
				s.Resume = func(_ context.Context, parts []bus.Partition) ([]int64, error) {
					logs[parts[0].Log] = true
					return offsets(parts), nil
				}
			}
			end := subscribe(t, r, s, got.handle)
			handled(t, r, newEvent(t, "a", 1))
			r.DeleteTopic("t")
			handled(t, r, newEvent(t, "a", 2))
			if err := end(); err != nil {
				t.Error(err)
			}
			if want := []string{"a1", "a2"}; !slices.Equal(got.sorted(), want) {
				t.Errorf("got %v, want %v", got.sorted(), want)
			}
			if got.ranges[0].Log == got.ranges[1].Log || got.ranges[1].Offset != 0 {
				t.Errorf("ranges: %+v", got.ranges)
			}
			if resume && len(logs) != 2 {
				t.Errorf("Resume was asked about logs %v", logs)
			}
		})
	}
}

// offsets answers as a reader without a position does.
func offsets(parts []bus.Partition) []int64 {
	answer := make([]int64, len(parts))
	for i, p := range parts {
		answer[i] = p.Offset
	}
	return answer
}

// handled publishes events and waits until the group has handled everything.
func handled(t *testing.T, r *bustest.Recorder, events ...bus.Event) {
	t.Helper()
	publish(t, r, "t", events...)
	if err := r.Drain(t.Context(), "readers", "t"); err != nil {
		t.Fatal(err)
	}
}

// some returns one event of each of n keys.
func some(t *testing.T, n int, v uint64) []bus.Event {
	t.Helper()
	es := make([]bus.Event, n)
	for i := range es {
		es[i] = newEvent(t, fmt.Sprintf("k%d-", i), v)
	}
	return es
}

func TestWhatRetentionTookIsAGap(t *testing.T) {
	for name, resume := range map[string]bool{"by the broker's position": false, "by Resume": true} {
		t.Run(name, func(t *testing.T) {
			r, got := bustest.NewRecorder(bustest.WithPartitions(1)), &seen{}
			s, gaps := reader("t"), make(chan bus.Gap, 5)
			s.OnGap = func(_ context.Context, g bus.Gap) { gaps <- g }
			if resume {
				s.Resume = func(_ context.Context, parts []bus.Partition) ([]int64, error) { return offsets(parts), nil }
			}
			subscribe(t, r, s, got.handle)
			handled(t, r, some(t, 2, 1)...)
			r.SetDown(true)
			// Nothing is delivered while the broker is away, but another program's records are stored.
			for range 5 {
				r.PutRaw("t", "k", newEnvelope(t))
			}
			r.Truncate("t", 0, 6)
			r.SetDown(false)
			if err := r.Drain(t.Context(), "readers", "t"); err != nil {
				t.Fatal(err)
			}
			g := <-gaps
			if g.At.Offset != 2 || g.At.Topic != "t" || g.Missed != 4 || g.Reason != "the log starts at 6, behind position 2" {
				t.Errorf("gap %+v", g)
			}
			if last := got.ranges[len(got.ranges)-1]; last.Offset != 6 || last.Next != 7 {
				t.Errorf("ranges: %+v", got.ranges)
			}
			if len(r.Published("t")) != 7 {
				t.Errorf("%d events are on record, want 7", len(r.Published("t")))
			}
		})
	}
}

func TestALogThatLostItsEndIsReadAgain(t *testing.T) {
	for name, resume := range map[string]bool{"by the broker's position": false, "by Resume": true} {
		t.Run(name, func(t *testing.T) {
			r, got := bustest.NewRecorder(bustest.WithPartitions(1)), &seen{}
			s, gaps := reader("t"), make(chan bus.Gap, 5)
			s.OnGap = func(_ context.Context, g bus.Gap) { gaps <- g }
			if resume {
				s.Resume = func(_ context.Context, parts []bus.Partition) ([]int64, error) { return offsets(parts), nil }
			}
			subscribe(t, r, s, got.handle)
			handled(t, r, some(t, 5, 1)...)
			r.Shorten("t", 0, 3)
			if g := <-gaps; g.At.Offset != 5 || g.Reason != "the log ends at 3, before position 5" {
				t.Errorf("gap %+v", g)
			}
			if at := r.PutRaw("t", "k", newEnvelope(t)); at.Offset != 3 {
				t.Errorf("the log goes on at %d", at.Offset)
			}
			if err := r.Drain(t.Context(), "readers", "t"); err != nil {
				t.Fatal(err)
			}
			if last := got.ranges[len(got.ranges)-1]; last.Next != 4 {
				t.Errorf("ranges: %+v", got.ranges)
			}
		})
	}
}

func newEnvelope(t *testing.T) []byte {
	t.Helper()
	e := newEvent(t, "k", 1)
	return e.AppendEnvelope(nil)
}

func TestAPartitionThatIsAddedIsReadFromItsStart(t *testing.T) {
	for name, resume := range map[string]bool{"by the broker's position": false, "by Resume": true} {
		t.Run(name, func(t *testing.T) {
			r, got := bustest.NewRecorder(bustest.WithPartitions(1)), &seen{}
			s := reader("t")
			s.Start = bus.Latest()
			if resume {
				s.Resume = func(_ context.Context, parts []bus.Partition) ([]int64, error) { return offsets(parts), nil }
			}
			publish(t, r, "t", some(t, 3, 1)...)
			subscribe(t, r, s, got.handle)
			r.SetDown(true)
			r.AddPartitions("t", 8)
			r.PutRaw("t", "some key", newEnvelope(t))
			r.SetDown(false)
			handled(t, r, some(t, 20, 2)...)
			if n := len(got.sorted()); n != 21 {
				t.Errorf("%d events came, want 21: %v", n, got.sorted())
			}
			parts, err := r.Partitions(t.Context(), "t")
			if err != nil || len(parts) != 8 || parts[7].Log != parts[0].Log {
				t.Errorf("partitions %+v, %v", parts, err)
			}
		})
	}
}

func TestRecordsOfOtherPrograms(t *testing.T) {
	r := bustest.NewRecorder()
	at := r.PutRaw("t", "k", []byte("{}"))
	e := r.Published("t")[0]
	if !errors.Is(e.Err, bus.ErrNotEvent) || e.Key != "k" || string(e.Data) != "{}" || e.At != at {
		t.Errorf("got %+v", e)
	}
	if at.Topic != "t" || at.Log == "" || at.Offset != 0 {
		t.Errorf("stored at %+v", at)
	}
}

func TestTheClockSaysWhenEventsWereReceived(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := bustest.NewRecorder(bustest.WithClock(func() time.Time { return now }))
	var want []string
	for day := range 5 {
		publish(t, r, "t", newEvent(t, "a", uint64(day+1)))
		if now = now.AddDate(0, 0, 1); day >= 2 {
			want = append(want, fmt.Sprintf("a%d", day+1))
		}
	}
	got, s := &seen{}, reader("t")
	s.Start = bus.Since(time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC))
	subscribe(t, r, s, got.handle)
	handled(t, r)
	if !slices.Equal(got.sorted(), want) {
		t.Errorf("got %v, want %v", got.sorted(), want)
	}
}

// A partition that another member is to have leaves its member at once, and its delivery is cut short.
func TestASecondMemberTakesOverWithoutOverlap(t *testing.T) {
	r := bustest.NewRecorder()
	publish(t, r, "t", some(t, 50, 1)...)
	began, causes := make(chan struct{}), make(chan error, 1)
	first := &seen{}
	subscribe(t, r, reader("t"), func(ctx context.Context, d bus.Delivery) error {
		select {
		case <-began:
			return first.handle(ctx, d)
		default:
			close(began)
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	})
	<-began
	second := &seen{}
	subscribe(t, r, reader("t"), second.handle)
	if err := <-causes; err == nil || err.Error() != "the delivery's partitions were taken away" {
		t.Errorf("the first member's delivery ended with %v", err)
	}
	handled(t, r)
	all := slices.Concat(first.sorted(), second.sorted())
	slices.Sort(all)
	if len(all) != 50 || len(slices.Compact(all)) != 50 || len(first.sorted()) == 0 || len(second.sorted()) == 0 {
		t.Errorf("the members have %d and %d events, want 50 together", len(first.sorted()), len(second.sorted()))
	}
}

// With small deliveries and one partition that always has more, the others have their turn all the same.
func TestNoPartitionStarves(t *testing.T) {
	r := bustest.NewRecorder()
	s := reader("t")
	s.MaxBatch = 1
	busy := newEvent(t, "busy", 1)
	publish(t, r, "t", busy)
	quiet := some(t, 20, 1)
	publish(t, r, "t", quiet...)
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(map[int32]bool)
	err := r.Subscribe(ctx, s, func(_ context.Context, d bus.Delivery) error {
		for range 3 { // more comes in than is taken out
			busy.Version++
			if err := r.Publish(ctx, "t", busy); err != nil {
				return err
			}
		}
		if seen[d.Ranges[0].Partition] = true; len(seen) == 4 {
			cancel()
		}
		return nil
	})
	cancel()
	if err != nil || len(seen) != 4 {
		t.Errorf("partitions %v were served: %v", seen, err)
	}
}

func TestASubscriptionEndsWhileResumeFails(t *testing.T) {
	r := bustest.NewRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	s := reader("t")
	s.Resume = func(context.Context, []bus.Partition) ([]int64, error) {
		cancel()
		return nil, errors.New("the database is away")
	}
	if err := r.Subscribe(ctx, s, (&seen{}).handle); err != nil {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestHooksAndLogsOfTheRecorder(t *testing.T) {
	var logged bytes.Buffer
	published := 0
	r := bustest.NewRecorder(
		bustest.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))),
		bustest.WithHooks(bus.Hooks{Publish: func(ctx context.Context, _ string, es []bus.Event) (context.Context, func(error)) {
			published += len(es)
			return ctx, nil
		}}))
	publish(t, r, "t", newEvent(t, "a", 1))
	failed := false
	end := subscribe(t, r, reader("t"), func(context.Context, bus.Delivery) error {
		if !failed {
			failed = true
			return bus.RetryAfter(0, errors.New("not now"))
		}
		return nil
	})
	handled(t, r)
	if err := end(); err != nil {
		t.Error(err)
	}
	if published != 1 || !strings.Contains(logged.String(), "not now") {
		t.Errorf("hooks saw %d events; the log is %q", published, &logged)
	}
}
