package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/proto"
)

// offer gives the inbox n new users in one delivery, and returns what the bus hears.
func (l *tape) offer(in *Inbox, name string, n int) error {
	for i := range n {
		l.put(0, created(l.t, fmt.Sprint(name, i), 1, ""))
	}
	return l.again(in)
}

// again gives the inbox what is not taken yet.
func (l *tape) again(in *Inbox) error {
	l.t.Helper()
	from := l.resume(in)[0]
	return in.handle(l.t.Context(), l.delivery(cut{0, from, l.end(0)}))
}

// released is an inbox whose handler fails for all keys that begin with one of a list.
func released(t *testing.T, bad *[]string, logged *logs, heard *[]bool) (*Inbox, *tape, *clock) {
	c, cfg := newClock(), config(t, newDB(t))
	c.config(&cfg)
	cfg.Logger = logged.logger()
	cfg.OnReady = func(is bool) { *heard = append(*heard, is) }
	in := mustNew(t, cfg, releasedRoutes(bad)...)
	in.ready.busSays(true)
	return in, newTape(t, 1), c
}

func releasedRoutes(bad *[]string) []Route {
	p := &plan{}
	routes := p.routes()
	for i := range routes {
		do := routes[i].event
		routes[i].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
			if slices.ContainsFunc(*bad, func(b string) bool { return strings.HasPrefix(e.Key, b) }) {
				return errTest
			}
			return do(ctx, tx, e, m)
		}
	}
	return routes
}

func TestABadReleaseDoesNotParkTheTopic(t *testing.T) {
	bad, logged, heard := []string{"x"}, &logs{}, []bool(nil)
	in, l, c := released(t, &bad, logged, &heard)
	// One bad event among many is poison, not a bad release; and so are a hundred keys.
	if err := errors.Join(l.offer(in, "good", 150), l.offer(in, "x", 60), l.offer(in, "x again", 40)); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, in, Status{Keys: 250, Versions: 250, Parked: badKeys})
	if err := l.offer(in, "xx", 40); err != nil { // more than a hundred keys, and not half of all
		t.Fatal(err)
	}
	for try := range 3 {
		if err := l.offer(in, "xy", 20*max(0, 1-try)); !errors.Is(err, errBadRelease) || bus.IsPermanent(err) {
			t.Fatalf("the bus hears %v, want that nothing more is taken", err)
		}
	}
	wantStatus(t, in, Status{Keys: 290, Versions: 290, Parked: 140})
	wantPositions(t, in, 290)
	if n := strings.Count(logged.String(), "NOTHING MORE IS TAKEN IN"); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
	if !slices.Equal(heard, []bool{true, false}) {
		t.Errorf("ready was %v", heard)
	}
	// What was parked before goes on being tried, and succeeds with the next release, which takes the delivery, too.
	bad = nil
	c.pass(2 * time.Second)
	step(t, in)
	if err := l.again(in); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, in, Status{Keys: 310, Versions: 310, Parked: 40}) // a hundred at a time
	if !slices.Equal(heard, []bool{true, false, true}) {
		t.Errorf("ready was %v", heard)
	}
}

func TestTheRuleOfABadReleaseOutlivesARestart(t *testing.T) {
	bad, logged, heard := []string{"x"}, &logs{}, []bool(nil)
	in, l, c := released(t, &bad, logged, &heard)
	if err := l.offer(in, "x", badKeys); err != nil {
		t.Fatal(err)
	}
	for try := range 3 {
		in = mustNew(t, in.cfg, releasedRoutes(&bad)...)
		if err := l.offer(in, "xx", max(0, 1-try)); !errors.Is(err, errBadRelease) {
			t.Fatalf("the bus hears %v, want that nothing more is taken", err)
		}
		c.pass(15 * time.Second)
	}
	c.pass(16 * time.Second) // a minute is over
	if err := l.again(in); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, in, Status{Keys: 101, Versions: 101, Parked: 101})
}

// After a restart what went well before it still counts, as far as it was written down.
func TestWhatWentWellCountsAfterARestart(t *testing.T) {
	bad, logged, heard := []string{"x"}, &logs{}, []bool(nil)
	in, l, _ := released(t, &bad, logged, &heard)
	if err := errors.Join(l.offer(in, "good", 300), l.offer(in, "x", badKeys)); err != nil {
		t.Fatal(err)
	}
	in = mustNew(t, in.cfg, releasedRoutes(&bad)...)
	if err := l.offer(in, "xx", 10); err != nil {
		t.Fatalf("the bus hears %v, want that poison is parked", err)
	}
}

// A delivery of which nearly all fails is not gone through to its end.
func TestABadReleaseIsFoundEarly(t *testing.T) {
	calls := 0
	cfg := config(t, newDB(t))
	in := mustNew(t, cfg, Batch(func(_ context.Context, _ Tx, batch []bus.Event) error {
		calls++
		return errTest
	}, createdType))
	l := newTape(t, 1)
	const n = 1000
	if err := l.offer(in, "x", n); !errors.Is(err, errBadRelease) {
		t.Fatalf("the bus hears %v", err)
	}
	if calls > n*5/4 {
		t.Errorf("%d calls for %d events", calls, n)
	}
	wantStatus(t, in, Status{})
}

func TestAFaultOfTheStoreIsNotReady(t *testing.T) {
	var heard []bool
	p := &plan{left: map[string]int{"a:1": -1}, err: errStore}
	in, l, _ := poisoned(t, p, func(c *Config) { c.OnReady = func(is bool) { heard = append(heard, is) } })
	in.ready.busSays(true)
	for range 2 {
		if err := l.offer(in, "a", 0); err != nil {
			t.Fatal(err)
		}
	}
	l.put(0, created(t, "a", 1, ""))
	for range 2 {
		if err := l.again(in); err == nil {
			t.Fatal("the fault was lost")
		}
	}
	p.left = map[string]int{}
	l.all(in)
	if !slices.Equal(heard, []bool{true, false, true}) {
		t.Errorf("ready was %v", heard)
	}
}

// A delivery that is taken away with its partition is another's trouble.
func TestADeliveryThatIsTakenAwayIsStuckNoMore(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": -1}, err: errStore}
	in, l, _ := poisoned(t, p)
	in.ready.busSays(true)
	running := t.Context()
	in.run.Store(&running)
	l.put(0, created(t, "a", 1, ""))
	ctx, cancel := context.WithCancel(t.Context())
	if err := in.handle(ctx, l.delivery(cut{0, 0, 1})); err == nil {
		t.Fatal("the fault was lost")
	}
	stuck := func() string {
		in.ready.mu.Lock()
		defer in.ready.mu.Unlock()
		return map[bool]string{true: "it is stuck"}[in.ready.stuck]
	}
	if stuck() == "" {
		t.Fatal("it is not stuck")
	}
	cancel()
	eventually(t, stuck)
}

// What went well since the last failure counts, though it was never written down.
func TestWhatWentWellCounts(t *testing.T) {
	bad, logged, heard := []string{"x"}, &logs{}, []bool(nil)
	in, l, _ := released(t, &bad, logged, &heard)
	if err := errors.Join(l.offer(in, "good", 300), l.offer(in, "x", badKeys+1)); err != nil {
		t.Fatalf("the bus hears %v, want that poison is parked", err)
	}
}
