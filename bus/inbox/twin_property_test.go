package inbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"google.golang.org/protobuf/proto"
)

// migration is a log whose owner moves from v1 to v2 by way of both, and a service whose releases come and go meanwhile.
type migration struct {
	t         *testing.T
	rnd       *rand.Rand
	kind      string // "projection", "history" or "reaction"
	clock     *clock
	cfg       Config
	log       *tape
	in        *Inbox
	performer *performer
	cursor    []int64
	versions  uint64 // that are in the log, of each key
	failing   bool   // handlers and upcasters fail here and there
	performed []string
}

const (
	migratedParts = 2
	migratedKeys  = 4
)

func newMigration(t *testing.T, seed uint64, kind string) *migration {
	w := &migration{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), kind: kind, clock: newClock(), cfg: config(t, newDB(t)),
		log: newTape(t, migratedParts),
	}
	mustExec(t, w.cfg.DB, `PRAGMA synchronous = OFF`)
	w.cfg.Attempts, w.cfg.Workers, w.cfg.Logger = -1, 1, new(logs).logger()
	if w.clock.config(&w.cfg); kind == "history" {
		w.cfg.Gaps = Every
	}
	return w
}

// publish appends so many versions of each key, as the owner is configured: some late, some again, in any order.
func (w *migration) publish(versions uint64, v1, v2 bool) {
	for k := range migratedKeys {
		key := fmt.Sprint("k", k)
		var events []bus.Event
		for v := w.versions + 1; v <= w.versions+versions; v++ {
			both := twinsUpdated(w.t, key, v)
			switch {
			case v1 && v2:
			case v1:
				both = []bus.Event{updated(w.t, key, v, "Ann")}
			default:
				both = []bus.Event{event(w.t, key, v, &eventsv2.UserUpdated{User: upUser(&eventsv1.User{Name: "Ann"})})}
			}
			events = append(events, both...)
		}
		for range w.rnd.IntN(3) {
			i := w.rnd.IntN(len(events) - 1)
			events[i], events[i+1] = events[i+1], events[i]
		}
		for range 4 { // the relay sends some again
			i := w.rnd.IntN(len(events))
			again := slices.Clone(events[max(0, i-w.rnd.IntN(4)) : i+1])
			w.rnd.Shuffle(w.rnd.IntN(len(again)+1), func(i, j int) { again[i], again[j] = again[j], again[i] })
			events = slices.Insert(events, i+1, again...)
		}
		w.log.put(k%migratedParts, events...)
	}
	w.versions += versions
}

// twinsUpdated are a change's, whatever its version.
func twinsUpdated(t testing.TB, key string, v uint64) []bus.Event {
	u := &eventsv1.User{Id: key, Name: "Ann", Version: v}
	events, err := bus.NewTwins(source, key, v, &eventsv2.UserUpdated{User: upUser(u)}, &eventsv1.UserUpdated{User: u})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func (w *migration) fails() error {
	if w.failing && w.rnd.IntN(4) == 0 {
		return bus.RetryAfter(0, errTest)
	}
	return nil
}

// take is a handler of any version, and of every kind.
func take[M proto.Message](w *migration) Route {
	if w.kind == "reaction" {
		return After(func(_ context.Context, e bus.Event, _ M) error {
			if err := w.fails(); err != nil {
				return err
			}
			w.performed = append(w.performed, fmt.Sprintf("%s:%d ", e.Key, e.Version))
			return nil
		})
	}
	return On(func(ctx context.Context, tx Tx, e bus.Event, _ M) error {
		if err := w.fails(); err != nil {
			return err
		}
		return insert(ctx, tx, &e, "")
	})
}

// release replaces the service by a release that reads "v1", "v2" or "both".
func (w *migration) release(reads string) {
	var routes []Route
	switch reads {
	case "v1":
		routes = []Route{take[*eventsv1.UserUpdated](w)}
	case "v2":
		routes = []Route{take[*eventsv2.UserUpdated](w)}
	case "both":
		routes = []Route{take[*eventsv2.UserUpdated](w), Upcast(func(e bus.Event, m *eventsv1.UserUpdated) (*eventsv2.UserUpdated, error) {
			if err := w.fails(); err != nil {
				return nil, err
			}
			return upUpdated(e, m)
		})}
	}
	w.in = mustNew(w.t, w.cfg, routes...)
	w.performer = &performer{Inbox: w.in, owner: uuid.NewString()}
	w.cursor = w.log.resume(w.in)
}

// deliver hands over what follows the cursor, as the bus does.
func (w *migration) deliver(most int64) {
	var cuts []cut
	for p := range migratedParts {
		if n := min(w.rnd.Int64N(most+1), w.log.end(p)-w.cursor[p]); n > 0 {
			cuts = append(cuts, cut{p, w.cursor[p], w.cursor[p] + n})
			w.cursor[p] += n
		}
	}
	w.log.play(w.in, cuts...)
}

// happens lets one random thing happen.
func (w *migration) happens(releases []string) {
	w.failing = w.rnd.IntN(3) == 0
	switch w.rnd.IntN(8) {
	default:
		w.deliver(3)
	case 0, 1:
		w.release(releases[w.rnd.IntN(len(releases))])
	case 2: // the log is read again from somewhere
		p := w.rnd.IntN(migratedParts)
		mustExec(w.t, w.cfg.DB, `UPDATE tidings_inbox_position SET next = $1 WHERE part = $2 AND next > $1`, w.rnd.Int64N(w.log.end(p)), p)
		w.cursor = w.log.resume(w.in)
	case 3:
		w.clock.pass(time.Duration(w.rnd.Int64N(int64(2 * restUnread))))
		step(w.t, w.in)
		w.performer.step(w.t)
	}
}

// settle ends a phase with a release that reads everything.
func (w *migration) settle() {
	w.failing = false
	w.release("both")
	for p := 0; p < migratedParts; {
		if w.cursor[p] < w.log.end(p) {
			w.deliver(10)
		} else {
			p++
		}
	}
	retry(w.t, w.in, w.clock)
	for status(w.t, w.in).Queue > 0 {
		w.clock.pass(2 * restUnread)
		w.performer.step(w.t)
	}
	w.check()
}

// check wants each version's effect once, and in order; a projection may pass over versions that came late.
func (w *migration) check() {
	w.t.Helper()
	s := status(w.t, w.in)
	if s.Keys != migratedKeys || s.Versions != migratedKeys*w.versions || s.Waiting+s.Holes+s.Parked+s.Behind+s.Ignored != 0 {
		w.t.Fatalf("status is %+v", s)
	}
	got := w.performed
	if w.kind != "reaction" {
		got = applications(w.t, w.cfg.DB)
	}
	last := map[string]uint64{}
	for _, a := range got {
		key, v := parseApplied(w.t, a)
		if v <= last[key] || w.kind != "projection" && v != last[key]+1 {
			w.t.Fatalf("%s: version %d comes after %d", key, v, last[key])
		}
		last[key] = v
	}
	for k := range migratedKeys {
		if v := last[fmt.Sprint("k", k)]; v != w.versions {
			w.t.Errorf("key %d is at version %d of %d", k, v, w.versions)
		}
	}
}

// Whatever releases run meanwhile, and whatever comes again, each version has its effect once, wherever a release that
// reads it runs in the end.
func TestWhateverReleasesRunEachVersionIsTakenOnce(t *testing.T) {
	for _, kind := range []string{"projection", "history", "reaction"} {
		for seed := range seeds(t, 6) {
			t.Run(fmt.Sprintf("%s/%d", kind, seed), func(t *testing.T) {
				w := newMigration(t, seed, kind)
				w.publish(3, true, false)
				w.publish(6, true, true)
				w.release("v1")
				for range 60 {
					w.happens([]string{"v1", "both"})
				}
				w.settle()
				w.publish(3, false, true) // v1 was stopped, and so nobody may read it alone
				for range 30 {
					w.happens([]string{"v2", "both"})
				}
				w.settle()
			})
		}
	}
}

// joined is a projection that both releases keep, in the words of v1.
func joined(v2 bool) []Route {
	store := func(ctx context.Context, tx Tx, e bus.Event, name string) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO users (id, version, name) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET version = excluded.version, name = excluded.name`, e.Key, int64(e.Version), name)
		return err
	}
	if !v2 {
		return []Route{On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserUpdated) error {
			return store(ctx, tx, e, m.GetUser().GetName())
		})}
	}
	return []Route{Upcast(upUpdated), On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv2.UserUpdated) error {
		return store(ctx, tx, e, m.GetUser().GetName().GetGiven())
	})}
}

// A new database that reads the whole log, of all versions, ends where one ends that has lived through them.
func TestAReplayOfMixedVersionsMakesTheSameProjection(t *testing.T) {
	l := newTape(t, 1)
	v1 := func(key string, v uint64) bus.Event { return updated(t, key, v, fmt.Sprint(key, v)) }
	both := func(key string, v uint64) []bus.Event {
		u := &eventsv1.User{Id: key, Name: fmt.Sprint(key, v), Version: v}
		events, err := bus.NewTwins(source, key, v, &eventsv2.UserUpdated{User: upUser(u)}, &eventsv1.UserUpdated{User: u})
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	v2 := func(key string, v uint64) bus.Event {
		return event(t, key, v, &eventsv2.UserUpdated{User: upUser(&eventsv1.User{Name: fmt.Sprint(key, v)})})
	}
	projection := func(cfg Config) (rows []string) {
		err := query(t.Context(), cfg.DB, func(row scanner) error {
			var id, name string
			var v int64
			err := row.Scan(&id, &v, &name)
			rows = append(rows, fmt.Sprintf("%s:%d %s", id, v, name))
			return err
		}, `SELECT id, version, name FROM users ORDER BY id`)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	newConfig := func() Config {
		cfg := config(t, newDB(t))
		mustExec(t, cfg.DB, `CREATE TABLE users (id TEXT PRIMARY KEY, version INTEGER, name TEXT)`)
		return cfg
	}
	lived := newConfig()
	old := mustNew(t, lived, joined(false)...)
	l.put(0, v1("a", 1), v1("b", 1), v1("c", 1), v1("d", 1))
	l.rest(old)
	l.put(0, slices.Concat(both("b", 2), both("c", 2), both("d", 2))...)
	l.resume(old)
	l.play(old, cut{0, 4, 7}) // up to the midst of the twins of c
	now := mustNew(t, lived, joined(true)...)
	l.put(0, v2("d", 3))
	l.rest(now)

	fresh := newConfig()
	l.rest(mustNew(t, fresh, joined(true)...))
	want := []string{"a:1 a1", "b:2 b2", "c:2 c2", "d:3 d3"}
	for name, cfg := range map[string]Config{"lived": lived, "fresh": fresh} {
		if diff := cmp.Diff(want, projection(cfg)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
