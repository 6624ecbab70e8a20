package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// allowed is what package bus allows every backend to do.
var allowed = bustest.Faults{
	Seed: 7, RepeatPublish: 0.05, RepeatDelivery: 0.05, FailBefore: 0.02, FailAfter: 0.02, Reorder: 0.3,
	Delay: 0.05, MaxDelay: 5 * time.Millisecond,
}

// withFaults puts faults around all that the harness opens.
func withFaults(h bustest.Harness, f bustest.Faults) bustest.Harness {
	open, openImpatient := h.Open, h.OpenImpatient
	h.Open = func(t *testing.T, opts ...bus.Option) bus.Bus { return f.Wrap(open(t, opts...)) }
	h.OpenImpatient = func(t *testing.T, opts ...bus.Option) (bus.Bus, time.Duration) {
		b, limit := openImpatient(t, opts...)
		return f.Wrap(b), limit
	}
	h.Repeats = true
	return h
}

func TestFaultsThatAreAllowedKeepTheContract(t *testing.T) {
	f := allowed
	f.Cut = 0.02
	bustest.Run(t, withFaults(recorderHarness(), f))
}

func TestFaultsThatAreAllowedKeepTheContractWithoutALog(t *testing.T) {
	bustest.Run(t, withFaults(embeddedRedisHarness(t), allowed))
}

// A rate of 1 strikes everything there is, once.
func TestEveryEventStruckOnceKeepsTheContract(t *testing.T) {
	bustest.Run(t, withFaults(recorderHarness(), bustest.Faults{
		RepeatPublish: 1, RepeatDelivery: 1, FailBefore: 1, FailAfter: 1, Reorder: 1, Delay: 1, MaxDelay: time.Millisecond,
	}))
}

// happenings makes the versions 1 to n of each key. Their ids are the same in every run.
func happenings(t *testing.T, n int, keys ...string) []bus.Event {
	t.Helper()
	var es []bus.Event
	for v := range n {
		for _, key := range keys {
			e, err := bus.NewEvent("/test", key, uint64(v+1), wrapperspb.String(key))
			if err != nil {
				t.Fatal(err)
			}
			es = append(es, e)
		}
	}
	return es
}

// place is how a test names an event.
func place(e bus.Event) string { return fmt.Sprintf("%s%d", e.Key, e.Version) }

func places(es []bus.Event) []string {
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = place(e)
	}
	return out
}

// taker is a handler that keeps what it was called with.
type taker struct {
	mu         sync.Mutex
	deliveries [][]string
}

func (k *taker) handle(_ context.Context, d bus.Delivery) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deliveries = append(k.deliveries, places(d.Events))
	return nil
}

func (k *taker) all() [][]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.deliveries)
}

// taken publishes es on one partition, has them handled through b's faults, and returns what the handler got.
func taken(t *testing.T, r *bustest.Recorder, b bus.Bus, s bus.Subscription, es []bus.Event) [][]string {
	t.Helper()
	if err := r.Publish(t.Context(), "topic", es...); err != nil {
		t.Fatal(err)
	}
	var got taker
	s.Group, s.Topics = "group", []string{"topic"}
	subscribed(t, b, s, got.handle, func(ctx context.Context) error { return r.Drain(ctx, "group", "topic") })
	return got.all()
}

// subscribed subscribes until done returns.
func subscribed(t *testing.T, b bus.Bus, s bus.Subscription, h bus.Handler, done func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.Subscribe(running, s, h) }()
	if err := done(ctx); err != nil {
		t.Errorf("waiting for the handler: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Subscribe: %v", err)
	}
}

func onePartition() *bustest.Recorder { return bustest.NewRecorder(bustest.WithPartitions(1)) }

func TestNoFaultsChangeNothing(t *testing.T) {
	r := onePartition()
	b := bustest.Faults{Seed: 3}.Wrap(r)
	got := taken(t, r, b, bus.Subscription{}, happenings(t, 2, "a", "b"))
	if diff := cmp.Diff([][]string{{"a1", "b1", "a2", "b2"}}, got); diff != "" {
		t.Error(diff)
	}
	if c := b.Counts(); c != (bustest.FaultCounts{}) {
		t.Errorf("counts %+v", c)
	}
}

// Each row is one fault that strikes everything, and what a handler gets of a1 b1 a2 b2.
func TestWhatAFaultDoesToADelivery(t *testing.T) {
	all := []string{"a1", "b1", "a2", "b2"}
	for name, tt := range map[string]struct {
		faults bustest.Faults
		want   [][]string
		counts bustest.FaultCounts
	}{
		"repeat": {bustest.Faults{RepeatDelivery: 1}, [][]string{all, all}, bustest.FaultCounts{RepeatDelivery: 1}},
		"before": {bustest.Faults{FailBefore: 1}, [][]string{all}, bustest.FaultCounts{FailBefore: 1}},
		"after":  {bustest.Faults{FailAfter: 1}, [][]string{all, all}, bustest.FaultCounts{FailAfter: 1}},
		"delay":  {bustest.Faults{Delay: 1}, [][]string{all}, bustest.FaultCounts{Delay: 1}},
		"drop":   {bustest.Faults{Drop: 1, FailAfter: 1}, [][]string{{}, {}}, bustest.FaultCounts{Drop: 4, FailAfter: 1}},
		"all": {
			bustest.Faults{FailBefore: 1, RepeatDelivery: 1, FailAfter: 1}, [][]string{all, all, all},
			bustest.FaultCounts{FailBefore: 1, RepeatDelivery: 1, FailAfter: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := onePartition()
			b := tt.faults.Wrap(r)
			got := taken(t, r, b, bus.Subscription{}, happenings(t, 2, "a", "b"))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if c := b.Counts(); c != tt.counts {
				t.Errorf("counts %+v, want %+v", c, tt.counts)
			}
		})
	}
}

// A handler that fails is not failed on top of it, and its own error is the one that counts.
func TestFaultsLeaveAHandlersErrorAlone(t *testing.T) {
	b := bustest.Faults{RepeatDelivery: 1, FailAfter: 1}.Wrap(onePartition())
	if err := b.Publish(t.Context(), "topic", happenings(t, 1, "a")...); err != nil {
		t.Fatal(err)
	}
	mine := errors.New("mine")
	err := b.Subscribe(t.Context(), bus.Subscription{Group: "group", Topics: []string{"topic"}},
		func(context.Context, bus.Delivery) error { return bus.Permanent(mine) })
	if !errors.Is(err, mine) || b.Counts() != (bustest.FaultCounts{}) {
		t.Errorf("Subscribe: %v, counts %+v", err, b.Counts())
	}
}

func TestReorderingIsAcrossKeysOnly(t *testing.T) {
	r := onePartition()
	es := happenings(t, 20, "a", "b", "c")
	b := bustest.Faults{Reorder: 1, FailAfter: 1}.Wrap(r)
	got := taken(t, r, b, bus.Subscription{}, es)
	if len(got) != 2 || !slices.Equal(got[0], got[1]) {
		t.Fatalf("the delivery came again as another one: %v", got)
	}
	if slices.Equal(got[0], places(es)) {
		t.Error("nothing was reordered")
	}
	for _, key := range []string{"a", "b", "c"} {
		of := func(all []string) []string {
			return slices.DeleteFunc(slices.Clone(all), func(p string) bool { return !strings.HasPrefix(p, key) })
		}
		if !slices.Equal(of(got[0]), of(places(es))) {
			t.Errorf("%s came as %v", key, of(got[0]))
		}
	}
}

// A record that can't be read may belong to any key.
func TestReorderingLeavesUnreadableRecordsInTheirPlace(t *testing.T) {
	r := onePartition()
	r.PutRaw("topic", "?", []byte("no event"))
	es := happenings(t, 20, "a", "b", "c")
	got := taken(t, r, bustest.Faults{Reorder: 1}.Wrap(r), bus.Subscription{}, es)
	if len(got) != 1 || !slices.Equal(got[0][1:], places(es)) {
		t.Errorf("got %v", got)
	}
}

func TestACutSubscriptionGoesOn(t *testing.T) {
	r := onePartition()
	var turns []bool
	s := bus.Subscription{OnReady: func(ready bool) { turns = append(turns, ready) }, MaxBatch: 2}
	b := bustest.Faults{Cut: 1}.Wrap(r)
	got := taken(t, r, b, s, happenings(t, 2, "a", "b"))
	if diff := cmp.Diff([][]string{{"a1", "b1"}, {"a2", "b2"}}, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if c := b.Counts().Cut; c != 2 || !slices.Equal(turns[:4], []bool{true, false, true, false}) {
		t.Errorf("%d cuts, OnReady heard %v", c, turns)
	}
}

// What a handler that heeds its context had in hand comes again.
func TestACutCancelsTheHandler(t *testing.T) {
	r := onePartition()
	if err := r.Publish(t.Context(), "topic", happenings(t, 1, "a")...); err != nil {
		t.Fatal(err)
	}
	calls, cut := 0, 0
	subscribed(t, bustest.Faults{Cut: 1}.Wrap(r), bus.Subscription{Group: "group", Topics: []string{"topic"}},
		func(ctx context.Context, _ bus.Delivery) error {
			calls++
			if ctx.Err() != nil {
				cut++
			}
			return ctx.Err()
		},
		func(ctx context.Context) error { return r.Drain(ctx, "group", "topic") })
	if calls != 2 || cut != 1 {
		t.Errorf("the handler was called %d times, and cancelled %d times", calls, cut)
	}
}

// On a bus that keeps nothing a cut is a loss, and has to be told like one.
func TestACutIsALossWhereNothingIsKept(t *testing.T) {
	h := embeddedRedisHarness(t)
	inner := h.Open(t)
	defer inner.Close(context.Background())
	b := bustest.Faults{Cut: 1}.Wrap(inner)
	ready, gaps := make(chan bool, 10), make(chan bus.Gap, 10)
	s := bus.Subscription{
		Group: "group", Topics: []string{"topic"},
		OnReady: func(r bool) { ready <- r },
		OnGap:   func(_ context.Context, g bus.Gap) { gaps <- g },
	}
	var got taker
	subscribed(t, b, s, got.handle, func(ctx context.Context) error {
		for _, want := range []bool{true, false, true} {
			select {
			case is := <-ready:
				if is != want {
					return fmt.Errorf("OnReady heard %v, want %v", is, want)
				}
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := b.Publish(ctx, "topic", happenings(t, 1, "a")...); want && err != nil {
				return err
			}
		}
		select {
		case g := <-gaps:
			if g.At != (bus.Position{Topic: "topic", Offset: -1}) || g.Reason == "" {
				return fmt.Errorf("the loss is told as %+v", g)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// failures are the errors of a call by event.
func failures(t *testing.T, err error, es []bus.Event) map[string]error {
	t.Helper()
	if err == nil {
		return map[string]error{}
	}
	var failed *bus.PublishError
	if !errors.As(err, &failed) {
		t.Fatalf("Publish: %v, want a *PublishError", err)
	}
	by := make(map[string]error)
	for i, err := range failed.Failed {
		by[place(es[i])] = err
	}
	return by
}

func TestARepeatedCallIsStoredTwice(t *testing.T) {
	r := onePartition()
	b := bustest.Faults{RepeatPublish: 1}.Wrap(r)
	es := happenings(t, 2, "a", "b")
	if err := b.Publish(t.Context(), "topic", es...); err != nil {
		t.Fatal(err)
	}
	once := []string{"a1", "b1", "a2", "b2"}
	if got := places(r.Published("topic")); !slices.Equal(got, slices.Concat(once, once)) {
		t.Errorf("stored: %v", got)
	}
	if es[0].At.Offset != 4 || b.Counts().RepeatPublish != 1 {
		t.Errorf("told of offset %d, counts %+v", es[0].At.Offset, b.Counts())
	}
}

// Some events of a call fail, and the next calls mend it, as an outbox's relay does: it sends again what failed.
func TestWhatFailsToBePublishedGetsThroughNextTime(t *testing.T) {
	for name, tt := range map[string]struct {
		faults bustest.Faults
		stored bool // though it failed
		count  func(bustest.FaultCounts) int
	}{
		"refused": {bustest.Faults{Seed: 2, RefusePublish: 0.2}, false, func(c bustest.FaultCounts) int { return c.RefusePublish }},
		"lost":    {bustest.Faults{Seed: 2, LoseAck: 0.2}, true, func(c bustest.FaultCounts) int { return c.LoseAck }},
	} {
		t.Run(name, func(t *testing.T) {
			r := onePartition()
			b := tt.faults.Wrap(r)
			es := happenings(t, 10, "a", "b", "c", "d")
			all := len(es)
			failedAtFirst := checkFailures(t, r, b, es, tt.stored)
			if n := len(failedAtFirst); n == 0 || n == all || tt.count(b.Counts()) != n {
				t.Fatalf("%d of %d failed, counted as %d", n, all, tt.count(b.Counts()))
			}
			for left := failedAtFirst; len(left) > 0; { // each call gets at least one event through
				err := b.Publish(t.Context(), "topic", left...)
				failed := failures(t, err, left)
				left = slices.DeleteFunc(left, func(e bus.Event) bool { return failed[place(e)] == nil })
			}
			last := make(map[string]uint64)
			for _, e := range r.Published("topic") {
				if e.Version > last[e.Key]+1 {
					t.Errorf("%s was stored behind version %d", place(e), last[e.Key])
				}
				last[e.Key] = max(last[e.Key], e.Version)
			}
			if want := map[string]uint64{"a": 10, "b": 10, "c": 10, "d": 10}; !maps.Equal(last, want) {
				t.Errorf("stored up to %v", last)
			}
		})
	}
}

// checkFailures publishes es, looks whether what is told of each is so, and returns those that failed.
func checkFailures(t *testing.T, r *bustest.Recorder, b bus.Bus, es []bus.Event, stored bool) []bus.Event {
	t.Helper()
	failed := failures(t, b.Publish(t.Context(), "topic", es...), es)
	kept := places(r.Published("topic"))
	var again []bus.Event
	broken := make(map[string]bool) // keys
	for _, e := range es {
		err := failed[place(e)]
		if broken[e.Key] && err == nil {
			t.Errorf("%s was acknowledged behind one of its key that failed", place(e))
		}
		broken[e.Key] = err != nil
		if err != nil && (!errors.Is(err, bustest.ErrFault) || errors.Is(err, bustest.ErrStored) != stored) {
			t.Errorf("%s: %v", place(e), err)
		}
		if (e.At.Topic == "topic") != (err == nil) {
			t.Errorf("%s is at %+v: %v", place(e), e.At, err)
		}
		if slices.Contains(kept, place(e)) != (err == nil || stored) {
			t.Errorf("%s is stored wrongly: %v", place(e), err)
		}
		if err != nil {
			again = append(again, e)
		}
	}
	return again
}

// What can't be sent at all fails as ever, whatever would strike it, and so does a bus that is closed.
func TestFaultsHideNoErrorOfTheCaller(t *testing.T) {
	b := bustest.Faults{RefusePublish: 1}.Wrap(onePartition())
	var failed *bus.PublishError
	for name, err := range map[string]error{
		"no topic": b.Publish(t.Context(), "", happenings(t, 1, "a")...),
		"no key":   b.Publish(t.Context(), "topic", append(happenings(t, 1, "a"), bus.Event{})...),
	} {
		if err == nil || errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b = bustest.Faults{LoseAck: 1}.Wrap(onePartition())
	if err := errors.Join(b.Publish(t.Context(), "topic"), b.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if err := b.Publish(t.Context(), "topic", happenings(t, 1, "a")...); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Publish after Close: %v", err)
	}
}

func TestADelayEndsWithItsContext(t *testing.T) {
	r := onePartition()
	b := bustest.Faults{Delay: 1, MaxDelay: 1000 * time.Hour}.Wrap(r)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, "topic", happenings(t, 1, "a")...); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish: %v", err)
	}
	if err := r.Publish(t.Context(), "topic", happenings(t, 1, "a")...); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var got taker
	if err := b.Subscribe(soon, bus.Subscription{Group: "group", Topics: []string{"topic"}}, got.handle); err != nil || len(got.all()) > 0 {
		t.Errorf("Subscribe: %v, and the handler got %v", err, got.all())
	}
}

// outcome is what a run with faults came to: which events were refused, and which each group got.
func outcome(t *testing.T, f bustest.Faults, calls int) (refused, got []string, counts bustest.FaultCounts) {
	r := bustest.NewRecorder()
	b := f.Wrap(r)
	var mu sync.Mutex
	var publishers sync.WaitGroup
	for i := range calls { // in whatever order
		publishers.Go(func() {
			es := happenings(t, 5, fmt.Sprintf("a%d-", i), fmt.Sprintf("b%d-", i))
			failed := failures(t, b.Publish(t.Context(), "topic", es...), es)
			mu.Lock()
			defer mu.Unlock()
			refused = slices.AppendSeq(refused, maps.Keys(failed))
		})
	}
	publishers.Wait()
	var taker taker
	subscribed(t, b, bus.Subscription{Group: "group", Topics: []string{"topic"}, MaxBatch: 7}, taker.handle,
		func(ctx context.Context) error { return r.Drain(ctx, "group", "topic") })
	got = slices.Concat(taker.all()...)
	slices.Sort(refused)
	slices.Sort(got)
	return refused, slices.Compact(got), b.Counts()
}

// The same seed strikes the same events, whatever the order of things was; another one strikes others.
func TestASeedRepeatsItsFaults(t *testing.T) {
	f := bustest.Faults{Seed: 42, RefusePublish: 0.05, Drop: 0.1}
	refused, got, counts := outcome(t, f, 20)
	if len(refused) == 0 || counts.Drop == 0 || len(got)+len(refused)+counts.Drop != 200 {
		t.Fatalf("%d refused, %d delivered, %d dropped, of 200", len(refused), len(got), counts.Drop)
	}
	refusedAgain, gotAgain, countsAgain := outcome(t, f, 20)
	if !slices.Equal(refused, refusedAgain) || !slices.Equal(got, gotAgain) || counts != countsAgain {
		t.Errorf("the same seed did otherwise:\n%v\n%v\n%+v\n%+v", refused, refusedAgain, counts, countsAgain)
	}
	f.Seed++
	if otherRefused, otherGot, _ := outcome(t, f, 20); slices.Equal(refused, otherRefused) || slices.Equal(got, otherGot) {
		t.Error("another seed did the same")
	}
}

// Faults of two wraps both happen. Every group loses the same events, and each is counted.
func TestFaultsCompose(t *testing.T) {
	r := onePartition()
	lossy := bustest.Faults{Seed: 1, Drop: 0.5}.Wrap(r)
	b := bustest.Faults{RepeatDelivery: 1}.Wrap(lossy)
	es := happenings(t, 20, "a")
	first := taken(t, r, b, bus.Subscription{}, es)
	if len(first) != 2 || !slices.Equal(first[0], first[1]) {
		t.Fatalf("not repeated: %v", first)
	}
	lost := len(es) - len(first[0])
	if lost == 0 || lossy.Counts().Drop != lost {
		t.Errorf("%d of %d lost, counted as %+v", lost, len(es), lossy.Counts())
	}
	var other taker
	subscribed(t, lossy, bus.Subscription{Group: "other", Topics: []string{"topic"}}, other.handle,
		func(ctx context.Context) error { return r.Drain(ctx, "other", "topic") })
	if got := other.all(); len(got) != 1 || !slices.Equal(got[0], first[0]) || lossy.Counts().Drop != 2*lost {
		t.Errorf("another group got %v, want %v; counts %+v", got, first[0], lossy.Counts())
	}
}
