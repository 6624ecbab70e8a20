package inbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"google.golang.org/protobuf/proto"
)

// step does once what Run's timer does: it tries what is due.
func step(t testing.TB, in *Inbox, over ...func()) {
	t.Helper()
	r := &retrier{Inbox: in, resting: make(map[int64]time.Time)}
	if _, err := r.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range over {
		f()
	}
}

// retry lets the time pass until nothing is to be tried any more, and tries what is due.
func retry(t testing.TB, in *Inbox, c *clock, over ...func()) {
	t.Helper()
	for range 1000 {
		next, err := in.nextRetry(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if next.IsZero() {
			return
		}
		if next.After(c.now) {
			c.now = next
		}
		step(t, in, over...)
	}
	t.Fatal("what was parked is tried for ever")
}

// wantParked compares what is parked: "state key:version attempts retried error", in order of the rows.
func wantParked(t testing.TB, in *Inbox, want ...string) {
	t.Helper()
	var got []string
	err := query(t.Context(), in.cfg.DB, func(row scanner) error {
		var state, key, why string
		var version, attempts, next, at int64
		err := row.Scan(&state, &key, &version, &attempts, &next, &at, &why)
		line := fmt.Sprintf("%s %s:%d", state, key, version)
		if attempts > 0 {
			line += fmt.Sprint(" ", attempts)
		}
		if next > 0 {
			line += " retried"
		}
		if why != "" {
			line += " " + why
		}
		got = append(got, line)
		return err
	}, `SELECT state, key, version, attempts, next, time, error FROM tidings_inbox_parked ORDER BY id`)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("parked (-want +got), %v:\n%s", err, diff)
	}
}

// plan says which events fail, and how often: by "key:version", or by id where there is no version. Below 0 is for ever.
//
// A handler is called more than once until it is found out which event is at fault: all of that is one try, which ends
// with a call of over.
type plan struct {
	left  map[string]int
	hit   map[string]bool
	err   error
	calls int
}

func (p *plan) over() {
	for name := range p.hit {
		p.left[name]--
	}
	clear(p.hit)
}

func (p *plan) check(e *bus.Event) error {
	p.calls++
	name := fmt.Sprintf("%s:%d", e.Key, e.Version)
	if e.Version == 0 {
		name = e.ID
	}
	if p.left[name] == 0 {
		return nil
	}
	if p.hit == nil {
		p.hit = make(map[string]bool)
	}
	p.hit[name] = true
	return orDefault(p.err, errTest)
}

// routes are recordAll's, which fail by the plan, after their effect.
func (p *plan) routes() []Route {
	routes := recordAll()
	for i := range routes {
		do := routes[i].event
		routes[i].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
			return errors.Join(do(ctx, tx, e, m), p.check(e))
		}
	}
	return routes
}

// poisoned makes an inbox whose handlers fail by a plan, and whose clock the test sets.
func poisoned(t testing.TB, p *plan, change ...func(*Config)) (*Inbox, *tape, *clock) {
	t.Helper()
	c, cfg := newClock(), config(t, newDB(t))
	c.config(&cfg)
	for _, f := range change {
		f(&cfg)
	}
	in, l := mustNew(t, cfg, p.routes()...), newTape(t, 1)
	l.over = p.over
	l.resume(in)
	return in, l, c
}

// all plays everything that is not played yet in one delivery.
func (l *tape) all(in *Inbox) {
	l.t.Helper()
	from := l.resume(in)[0]
	l.play(in, cut{0, from, l.end(0)})
}

func TestHalvingFindsThePoison(t *testing.T) {
	const n, log2 = 256, 8
	for _, bad := range [][]int{{0}, {n - 1}, {100}, {85}, {7, 200}, {3, 4, 5, 250}} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			calls := 0
			c, cfg := newClock(), config(t, newDB(t))
			c.config(&cfg)
			in := mustNew(t, cfg, Batch(func(ctx context.Context, tx Tx, batch []bus.Event) error {
				calls++
				failed := false
				for i := range batch {
					failed = failed || batch[i].ID == "bad"
					if err := insert(ctx, tx, &batch[i], ""); err != nil {
						return err
					}
				}
				if failed {
					return errTest // it says nothing of which
				}
				return nil
			}, createdType, updatedType))
			l := newTape(t, 1)
			l.resume(in)
			want := n
			for i := range n {
				e := created(t, fmt.Sprint("k", i), 1, "")
				if slices.Contains(bad, i) {
					e.ID = "bad"
					want--
				}
				l.put(0, e)
			}
			l.all(in)
			if most := 1 + len(bad)*(2*log2+1); calls > most {
				t.Errorf("%d calls of the handler, want %d at most", calls, most)
			}
			if got := applications(t, in.cfg.DB); len(got) != want {
				t.Errorf("%d events were applied, want %d", len(got), want)
			}
			wantStatus(t, in, Status{Keys: n, Versions: n, Parked: int64(len(bad))})
		})
	}
}

func TestAHistorysLaterEventsWaitBehindAParkedOne(t *testing.T) {
	p := &plan{left: map[string]int{"a:2": 2, "a:4": 2}}
	in, l, c := poisoned(t, p, every)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""), updated(t, "a", 3, ""), created(t, "b", 1, ""))
	l.all(in)
	l.put(0, updated(t, "a", 4, ""), updated(t, "a", 5, ""), updated(t, "b", 2, ""))
	l.all(in)
	wantApplied(t, in, "a:1 ", "b:1 ", "b:2 ")
	wantParked(t, in, "parked a:2 1 retried test error", "behind a:3", "behind a:4", "behind a:5")
	wantStatus(t, in, Status{Keys: 2, Versions: 7, Parked: 1, Behind: 3})
	for v := uint64(2); v <= 5; v++ {
		if e := notApplied(t, in, "a", v); e.State != Parked || e.Have != 1 {
			t.Errorf("of version %d Await says %v, want parked, and 1 is there", v, e)
		}
	}
	if e := notApplied(t, in, "a", 6); e.State != Behind || e.Have != 1 {
		t.Errorf("of version 6 Await says %v, want behind, and 1 is there", e)
	}
	step(t, in, p.over) // not due
	wantParked(t, in, "parked a:2 1 retried test error", "behind a:3", "behind a:4", "behind a:5")
	c.pass(2 * time.Second)
	step(t, in, p.over)
	wantParked(t, in, "parked a:2 2 retried test error", "behind a:3", "behind a:4", "behind a:5")
	c.pass(4 * time.Second)
	step(t, in, p.over) // 2 and 3 are taken, and 4 is the new front
	wantApplied(t, in, "a:1 ", "b:1 ", "b:2 ", "a:2 ", "a:3 ")
	wantParked(t, in, "parked a:4 1 retried test error", "behind a:5")
	await(t, in, "a", 3)
	if e := notApplied(t, in, "a", 5); e.State != Parked || e.Have != 3 {
		t.Errorf("Await says %v, want parked, and 3 is there", e)
	}
	retry(t, in, c, p.over)
	l.put(0, updated(t, "a", 6, ""))
	l.all(in)
	wantApplied(t, in, "a:1 ", "b:1 ", "b:2 ", "a:2 ", "a:3 ", "a:4 ", "a:5 ", "a:6 ")
	wantStatus(t, in, Status{Keys: 2, Versions: 8})
}

func TestALateEventIsAppliedWhileItsKeyIsParked(t *testing.T) {
	p := &plan{left: map[string]int{"a:3": 1, "a:1": 1}}
	in, l, c := poisoned(t, p, every)
	l.put(0, updated(t, "a", 3, ""), updated(t, "a", 4, ""))
	l.all(in)
	c.release(in) // a hole of 1 and 2
	l.put(0, updated(t, "a", 2, ""), created(t, "a", 1, ""))
	l.all(in)
	wantApplied(t, in, "a:2 ")
	wantParked(t, in, "parked a:3 1 retried test error", "behind a:4", "parked a:1 1 retried test error")
	retry(t, in, c, p.over)
	late := func(a string) bool { return a == "a:1 " } // it is tried by itself, sooner or later
	if got := applications(t, in.cfg.DB); !slices.Equal(slices.DeleteFunc(slices.Clone(got), late), []string{"a:2 ", "a:3 ", "a:4 "}) || len(got) != 4 {
		t.Errorf("applied %v", got)
	}
	wantStatus(t, in, Status{Keys: 1, Versions: 4})
}

func TestMoreThanOneTransactionTakesFollow(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": 1}}
	in, l, c := poisoned(t, p, every, func(c *Config) { c.MaxBatch = 3 })
	l.put(0, created(t, "a", 1, ""))
	want := []string{"a:1 "}
	for v := uint64(2); v <= 9; v++ {
		l.put(0, updated(t, "a", v, ""))
		want = append(want, fmt.Sprintf("a:%d ", v))
	}
	l.all(in)
	c.pass(2 * time.Second)
	step(t, in, p.over)
	wantApplied(t, in, want[:4]...)
	wantParked(t, in, "parked a:5 retried", "behind a:6", "behind a:7", "behind a:8", "behind a:9")
	retry(t, in, c, p.over)
	wantApplied(t, in, want...)
}

func TestADeadEventOfAHistoryBlocksItsKey(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": 2}}
	in, l, c := poisoned(t, p, every, func(c *Config) { c.Attempts = 2 })
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""))
	l.all(in)
	retry(t, in, c, p.over)
	wantParked(t, in, "dead a:1 2 test error", "behind a:2")
	l.put(0, updated(t, "a", 3, ""))
	l.all(in)
	wantStatus(t, in, Status{Keys: 1, Versions: 3, Parked: 1, Dead: 1, Behind: 2})
	if e := notApplied(t, in, "a", 2); e.State != Parked || e.Have != 0 {
		t.Errorf("Await says %v, want parked", e)
	}
}

func TestAProjectionsNewerVersionMakesUpForAParkedOne(t *testing.T) {
	p := &plan{left: map[string]int{"a:2": -1, "b:2": -1, "b:3": 1, "c:1": -1}}
	in, l, c := poisoned(t, p)
	l.put(0, created(t, "a", 1, ""), created(t, "b", 1, ""), updated(t, "a", 2, ""), updated(t, "b", 2, ""), created(t, "c", 1, ""), updated(t, "c", 2, ""))
	l.all(in)
	wantParked(t, in, "parked a:2 1 retried test error", "parked b:2 1 retried test error") // c was made up for at once
	c.pass(time.Hour)
	step(t, in, p.over)
	l.put(0, updated(t, "a", 3, ""), updated(t, "b", 3, ""))
	l.all(in)
	wantApplied(t, in, "a:1 ", "b:1 ", "c:2 ", "a:3 ")
	wantParked(t, in, "parked b:3 1 retried test error") // anew
	if e := notApplied(t, in, "b", 2); e.State != Parked || e.Have != 1 {
		t.Errorf("Await says %v, want parked, and 1 is there", e)
	}
	retry(t, in, c, p.over)
	wantApplied(t, in, "a:1 ", "b:1 ", "c:2 ", "a:3 ", "b:3 ")
	wantStatus(t, in, Status{Keys: 3, Versions: 8})
}

// What changes nothing makes up for nothing: the parked version is still the newest that there is.
func TestATypeWithoutARouteMakesUpForNothing(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": 2, "b:1": 1}}
	c, cfg := newClock(), config(t, newDB(t))
	c.config(&cfg)
	in, l := mustNew(t, cfg, p.routes()[0]), newTape(t, 1)
	l.over = p.over
	l.resume(in)
	l.put(0, created(t, "a", 1, ""), created(t, "b", 1, ""), updated(t, "b", 2, ""))
	l.all(in)
	l.put(0, updated(t, "a", 2, ""), updated(t, "a", 3, ""))
	l.all(in)
	if e := notApplied(t, in, "a", 3); e.State != Parked || e.Have != 0 {
		t.Errorf("Await says %v, want parked", e)
	}
	c.pass(2 * time.Second)
	step(t, in, p.over)
	wantApplied(t, in, "b:1 ")
	retry(t, in, c, p.over)
	wantApplied(t, in, "b:1 ", "a:1 ")
	wantStatus(t, in, Status{Keys: 2, Versions: 5, Ignored: 3})
}

// A retry that finds the mark further on, whoever has moved it, does nothing but go away.
func TestARetryBehindTheMarkGoesAway(t *testing.T) {
	p := &plan{left: map[string]int{"a:2": 1}}
	in, l, c := poisoned(t, p)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""))
	l.all(in)
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_mark SET version = 3`)
	calls := p.calls
	retry(t, in, c, p.over)
	if p.calls != calls {
		t.Error("the handler was called")
	}
	wantApplied(t, in, "a:1 ")
	wantParked(t, in)
}

func TestEventsWithoutAVersionKeepTheOrderOfTheirKey(t *testing.T) {
	for _, gaps := range []Gaps{Newest, Every} {
		p := &plan{left: map[string]int{"x": 2}}
		in, l, c := poisoned(t, p, func(c *Config) { c.Gaps = gaps })
		loose := func(id, key string) bus.Event {
			e := created(t, key, 0, id)
			e.ID = id
			return e
		}
		l.put(0, created(t, "a", 1, "v"), loose("x", "a"), loose("y", "a"), loose("z", "b"))
		l.all(in)
		l.put(0, loose("w", "a"), updated(t, "a", 2, "v"))
		l.all(in)
		wantApplied(t, in, "a:1 v", "b:0 z", "a:2 v")
		wantParked(t, in, "parked a:0 1 retried test error", "behind a:0", "behind a:0")
		retry(t, in, c, p.over)
		wantApplied(t, in, "a:1 v", "b:0 z", "a:2 v", "a:0 x", "a:0 y", "a:0 w")
		wantParked(t, in)
	}
}

// next is when the one row that is parked is tried, from now on.
func next(t testing.TB, in *Inbox) time.Duration {
	t.Helper()
	at, err := in.nextRetry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at.Sub(in.cfg.Now())
}

func TestBackoffOutlivesARestart(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": -1}}
	in, l, c := poisoned(t, p, func(c *Config) { c.Attempts = 5 })
	l.put(0, created(t, "a", 1, ""))
	l.all(in)
	for attempt := 1; attempt < 5; attempt++ {
		delay := time.Second << (attempt - 1)
		if d := next(t, in); d < delay/2 || d > delay*3/2 {
			t.Errorf("after %d attempts the next comes in %v, want %v give or take a half", attempt, d, delay)
		}
		was := next(t, in)
		in = mustNew(t, in.cfg, p.routes()...)
		if is := next(t, in); is != was {
			t.Errorf("after a restart the next comes in %v, want %v as before", is, was)
		}
		c.pass(was)
		step(t, in, p.over)
	}
	wantParked(t, in, "dead a:1 5 test error")
	c.pass(time.Hour)
	step(t, in, p.over)
	wantParked(t, in, "dead a:1 5 test error")
}

func TestTheErrorSetsTheTimeOfTheRetry(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": 2}, err: bus.RetryAfter(time.Hour, errTest)}
	in, l, c := poisoned(t, p)
	l.put(0, created(t, "a", 1, ""))
	l.all(in)
	if d := next(t, in); d != time.Hour {
		t.Errorf("the next comes in %v, want an hour", d)
	}
	c.pass(time.Hour)
	p.err = bus.Permanent(errTest)
	step(t, in, p.over)
	wantParked(t, in, "dead a:1 2 test error")
}

// What is not the event's fault costs it no attempt, and what is cut short leaves nothing.
func TestARetryThatTheStoreFailsCountsNothing(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": 1}}
	in, l, c := poisoned(t, p, every)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""), created(t, "b", 1, ""))
	l.all(in)
	for _, at := range []string{"a:1", "a:2"} { // the front itself, and one that follows it
		for _, err := range []error{errStore, sqldb.ErrInDoubt, bus.Permanent(context.Canceled)} {
			p.left["a:1"], p.left["a:2"] = 0, 0
			p.left[at], p.err = 1, err
			c.pass(time.Minute)
			step(t, in, p.over)
			wantApplied(t, in, "b:1 ")
			wantParked(t, in, "parked a:1 1 retried test error", "behind a:2")
		}
	}
	p.err, p.left = nil, nil
	retry(t, in, c, p.over)
	wantApplied(t, in, "b:1 ", "a:1 ", "a:2 ")
}

func TestARetryThatIsCutShortLeavesNothing(t *testing.T) {
	c, cfg := newClock(), config(t, newDB(t))
	c.config(&cfg)
	cut := func() {}
	fail := errTest
	in := mustNew(t, cfg, On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserCreated) error {
		cut()
		return errors.Join(insert(ctx, tx, &e, ""), fail)
	}))
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, ""))
	l.all(in)
	c.pass(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cut = cancel
	r := &retrier{Inbox: in, resting: make(map[int64]time.Time)}
	if _, err := r.step(ctx); err != nil {
		t.Fatal(err)
	}
	wantParked(t, in, "parked a:1 1 retried test error")
	fail = nil
	retry(t, in, c)
	wantApplied(t, in, "a:1 ")
}

func TestAParkedTypeWhoseRouteIsGone(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": 1}}
	in, l, c := poisoned(t, p, every)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""))
	l.all(in)
	cfg := in.cfg
	cfg.Unknown = Park
	in = mustNew(t, cfg, p.routes()[1:]...)
	retry(t, in, c, p.over)
	wantApplied(t, in, "a:2 ")
	if s := status(t, in); s.Parked != 1 || s.Dead != 0 || s.Behind != 0 {
		t.Errorf("status is %+v", s)
	}
}

func TestALogLineIsOfBoundedLength(t *testing.T) {
	var logged logs
	in, l, _ := poisoned(t, &plan{}, func(c *Config) { c.Logger = logged.logger() })
	for i := range 3 {
		e := created(t, "a", uint64(i), "")
		switch i {
		case 0:
			e = bus.Event{Key: strings.Repeat("k", 1<<19), Data: []byte("x"), Err: errors.New(strings.Repeat("e", 1<<19))}
		case 1:
			e.Source, e.ID = strings.Repeat("s", 1<<19), strings.Repeat("i", 1<<19)
		case 2:
			e.Type = strings.Repeat("t", 1<<19)
		}
		l.put(0, e)
	}
	l.all(in)
	for line := range strings.Lines(logged.String()) {
		if len(line) > 20_000 {
			t.Errorf("a line of the log has %d bytes", len(line))
		}
	}
	wantStatus(t, in, Status{Parked: 3, Dead: 3})
}

// Whatever fails, and however often, a history has each version once and in order in the end, and a projection is at
// its newest.
func TestWhateverFailsTheEndIsRight(t *testing.T) {
	const keys, versions = 5, 14
	for _, gaps := range []Gaps{Newest, Every} {
		for seed := range seeds(t, 12) {
			t.Run(fmt.Sprintf("%d/%d", gaps, seed), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				p := &plan{left: make(map[string]int)}
				in, l, c := poisoned(t, p, func(c *Config) { c.Gaps, c.Attempts, c.MaxBatch = gaps, -1, 4 })
				for v := uint64(1); v <= versions; v++ {
					for k := range keys {
						e := updated(t, fmt.Sprint("k", k), v, "")
						if rnd.IntN(4) == 0 {
							p.left[fmt.Sprintf("%s:%d", e.Key, v)] = rnd.IntN(5)
						}
						l.put(0, e)
					}
				}
				for at := l.resume(in)[0]; at < l.end(0); {
					switch p.err = nil; rnd.IntN(5) {
					case 0:
						p.err = errStore
						step(t, in, p.over)
					case 1:
						c.pass(time.Duration(rnd.Int64N(int64(20 * time.Second))))
						step(t, in, p.over)
					case 2:
						in = mustNew(t, in.cfg, p.routes()...)
					default:
						to := min(l.end(0), at+1+rnd.Int64N(12))
						l.play(in, cut{0, at, to})
						at = to
					}
				}
				retry(t, in, c, p.over)
				wantParked(t, in)
				last := make(map[string]uint64)
				for _, a := range applications(t, in.cfg.DB) {
					key, v := parseApplied(t, a)
					if v <= last[key] || gaps == Every && v != last[key]+1 {
						t.Errorf("key %s: version %d was applied after %d", key, v, last[key])
					}
					last[key] = v
				}
				for k := range keys {
					if v := last[fmt.Sprint("k", k)]; v != versions {
						t.Errorf("key k%d is at version %d, want %d", k, v, versions)
					}
				}
			})
		}
	}
}
