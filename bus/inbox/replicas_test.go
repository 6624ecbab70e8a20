package inbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"google.golang.org/protobuf/proto"
)

// service is a database on Postgres that replicas share, each with a pool of its own.
type service struct {
	t    *testing.T
	path string
	logs logs
}

func newService(t *testing.T) *service {
	s := &service{t: t, path: filepath.Join(t.TempDir(), "service.db")}
	mustExec(t, openDB(t, s.path), `CREATE TABLE applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
	return s
}

// replica makes an inbox of the service.
func (s *service) replica(routes []Route, change ...func(*Config)) *Inbox {
	s.t.Helper()
	cfg := config(s.t, openDB(s.t, s.path))
	cfg.Logger = s.logs.logger()
	for _, c := range change {
		c(&cfg)
	}
	return mustNew(s.t, cfg, routes...)
}

// cut ends all of the service's sessions, whatever they are at.
func (s *service) cut() {
	pgtest.Exec(s.t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '`+pgtest.Schema(s.path)+`'`)
}

// falteringRoutes are recordAll's, which fail now and then, in the middle of a transaction.
func falteringRoutes(well *atomic.Bool, why error) []Route {
	routes := recordAll()
	for i := range routes {
		do := routes[i].event
		routes[i].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
			if err := do(ctx, tx, e, m); err != nil || well.Load() || rand.IntN(40) > 0 {
				return err
			}
			return bus.RetryAfter(time.Millisecond, why)
		}
	}
	return routes
}

// Two replicas of one group, on each kind of bus, whose handlers fail and whose sessions are cut: each effect is there
// once, in order, and both know of it.
func TestReplicasApplyOnceWhateverHappensOnPostgres(t *testing.T) {
	for name, b := range map[string]func(t *testing.T) bus.Bus{
		"a log with groups":      func(t *testing.T) bus.Bus { return newRecorder(t) },
		"no log, and numbers":    func(t *testing.T) bus.Bus { return &numbering{Bus: bus.Wrap(&pubsub{})} },
		"no log, and no numbers": func(t *testing.T) bus.Bus { return bus.Wrap(&pubsub{}) },
	} {
		for _, gaps := range []Gaps{Newest, Every} {
			t.Run(fmt.Sprint(name, " ", gaps), func(t *testing.T) { applyOnce(t, b(t), gaps) })
		}
	}
}

// numbering numbers events as an outbox does.
type numbering struct {
	bus.Bus
	mu   sync.Mutex
	last uint64
}

func (n *numbering) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range events {
		n.last++
		events[i].SeqLog, events[i].Seq = "x", n.last
	}
	return n.Bus.Publish(ctx, topic, events...)
}

func applyOnce(t *testing.T, b bus.Bus, gaps Gaps) {
	const keys, versions = 12, 25
	s, well := newService(t), &atomic.Bool{}
	var ins []*Inbox
	why := errStore // a projection takes the newest only, once one was parked; a history is to have all of them
	if gaps == Every {
		why = errTest
	}
	for range 2 {
		ready := make(chan bool, 100)
		in := s.replica(falteringRoutes(well, why), func(c *Config) {
			c.Gaps, c.GapWait, c.MaxBatch, c.OnReady = gaps, time.Hour, 9, func(is bool) { ready <- is }
		})
		run(t, in, b)
		<-ready
		ins = append(ins, in)
	}
	for v := uint64(1); v <= versions; v++ {
		var events []bus.Event
		for k := range keys {
			events = append(events, created(t, fmt.Sprint("k", k), v, ""))
			if v%5 == 0 { // and again, as a relay may
				events = append(events, created(t, fmt.Sprint("k", k), v, ""))
			}
		}
		loose := created(t, fmt.Sprint("loose", v), 0, "")
		publish(t, b, append(events, loose)...)
		if v%8 == 4 {
			s.cut()
		}
	}
	well.Store(true)
	for k := range keys {
		eventually(t, func() string { // a session that was cut is a fault of the database, and Await says so
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			if err := ins[k%2].Await(ctx, source, fmt.Sprint("k", k), versions); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	eventually(t, func() string {
		if n := len(applications(t, ins[0].cfg.DB)); n < keys*versions+versions {
			return fmt.Sprintf("%d applications, want %d", n, keys*versions+versions)
		}
		return ""
	})
	wantVersionsInOrder(t, ins[0])
	if n := len(applications(t, ins[0].cfg.DB)); n != keys*versions+versions {
		t.Errorf("%d applications, want %d", n, keys*versions+versions)
	}
	if st := status(t, ins[1]); st.Keys != keys || st.Versions != keys*versions || st.Missing != 0 || st.Missed != 0 || st.Parked != 0 || st.Waiting != 0 {
		t.Errorf("status is %+v", st)
	}
	if s.logs.has("deadlock") {
		t.Errorf("a deadlock: %s", s.logs.String())
	}
}

// Members that don't know that they lost a partition deliver what others deliver, from anywhere, all at once: the rows
// of the positions decide, and nobody waits in a circle.
func TestMembersThatLostTheirPartitionsDoNoHarmOnPostgres(t *testing.T) {
	const parts, keys, versions = 3, 6, 40
	s := newService(t)
	l := newTape(t, parts)
	for v := uint64(1); v <= versions; v++ {
		for k := range keys {
			l.put(k%parts, updated(t, fmt.Sprint("k", k), v, ""))
		}
	}
	var members sync.WaitGroup
	for m := range 4 {
		in := s.replica(recordAll())
		rnd := rand.New(rand.NewPCG(uint64(m), 7))
		members.Go(func() {
			for next := l.resume(in); ; {
				var cuts []cut
				for p := range parts {
					if n := min(1+rnd.Int64N(7), l.end(p)-next[p]); n > 0 {
						cuts = append(cuts, cut{p, next[p], next[p] + n})
					}
				}
				if len(cuts) == 0 {
					return
				}
				err := in.handle(context.Background(), l.delivery(cuts...))
				if _, again := bus.RereadPositions(err); again {
					next = l.resume(in)
					continue
				} else if err != nil {
					t.Error(err)
					return
				}
				for _, c := range cuts {
					next[c.part] = c.to
				}
			}
		})
	}
	members.Wait()
	in := s.replica(recordAll())
	wantOrderWithinKeys(t, applications(t, in.cfg.DB))
	if st := status(t, in); st.Versions != keys*versions || st.Duplicates != 0 || st.Missing != 0 || len(applications(t, in.cfg.DB)) != keys*versions {
		t.Errorf("status is %+v", st)
	}
}

// Who comes second waits for the first before its handlers are called, and not only at the end: by the position, by the
// number, or by the mark, whichever the two have in common.
func TestWhoComesSecondWaitsBeforeItsHandlersOnPostgres(t *testing.T) {
	known := func(t *testing.T, seq uint64) bus.Event { return numbered(created(t, "known", seq, ""), "x", seq) }
	for name, tt := range map[string]struct {
		before, contested func(t *testing.T, l *tape) bus.Delivery
	}{
		"position": {
			func(t *testing.T, l *tape) bus.Delivery {
				l.put(0, created(t, "known", 1, ""))
				return l.delivery(cut{0, 0, 1})
			},
			func(t *testing.T, l *tape) bus.Delivery {
				l.put(0, created(t, "new", 1, ""))
				return l.delivery(cut{0, 1, 2})
			},
		},
		"number": {
			func(t *testing.T, l *tape) bus.Delivery { return deliveryOf([]bus.Event{known(t, 1)}) },
			func(t *testing.T, l *tape) bus.Delivery {
				return deliveryOf([]bus.Event{numbered(created(t, "new", 1, ""), "x", 2)})
			},
		},
		"mark": {
			func(t *testing.T, l *tape) bus.Delivery {
				return deliveryOf([]bus.Event{at0(created(t, "known", 1, ""))})
			},
			func(t *testing.T, l *tape) bus.Delivery {
				return deliveryOf([]bus.Event{at0(updated(t, "known", 2, ""))})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, l := newService(t), newTape(t, 1)
			var calls atomic.Int64
			entered, leave := make(chan bool, 2), make(chan bool)
			block := func(ctx context.Context, tx Tx, batch []bus.Event) error {
				if calls.Add(1) > 1 {
					entered <- true
					<-leave
				}
				return nil
			}
			routes := []Route{Any(block)}
			one, two := s.replica(routes), s.replica(routes)
			l.resume(one)
			if err := one.handle(t.Context(), tt.before(t, l)); err != nil {
				t.Fatal(err)
			}
			d, done := tt.contested(t, l), make(chan error, 2)
			for _, in := range []*Inbox{one, two} {
				go func() { done <- in.handle(context.Background(), d) }()
			}
			<-entered
			eventually(t, func() string {
				if len(entered) > 0 || s.waiting(two) > 0 {
					return ""
				}
				return "nobody waits for a lock"
			})
			close(leave)
			if err := errors.Join(<-done, <-done); err != nil {
				t.Error(err)
			}
			if n := calls.Load(); n != 2 {
				t.Errorf("the handler was called %d times for two events", n)
			}
		})
	}
}

// waiting counts the service's sessions that wait for a lock of another.
func (s *service) waiting(in *Inbox) (n int) {
	const text = `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`
	if err := in.cfg.DB.QueryRow(text, pgtest.Schema(s.path)).Scan(&n); err != nil {
		s.t.Error(err)
	}
	return n
}

// wantWaiting waits until one waits for a lock.
func (s *service) wantWaiting(in *Inbox) {
	s.t.Helper()
	eventually(s.t, func() string {
		if s.waiting(in) == 0 {
			return "nobody waits for a lock"
		}
		return ""
	})
}

// Without positions and numbers nothing but the marks keeps replicas apart. They are locked in the order of keys, in
// whatever order the events come, so the one who comes second waits, and goes on from what the first has left.
func TestReplicasThatHearAllDoNotHoldEachOtherUpOnPostgres(t *testing.T) {
	for name, also := range map[string]bool{"versions": false, "versions and none": true} {
		t.Run(name, func(t *testing.T) { hearAll(t, also) })
	}
}

func hearAll(t *testing.T, also bool) {
	const keys, versions, replicas = 40, 12, 3
	s := newService(t)
	var moved, failed atomic.Int64
	var all sync.WaitGroup
	for r := range replicas {
		in := s.replica(recordAll())
		rnd := rand.New(rand.NewPCG(uint64(r), 8))
		all.Go(func() {
			for v := uint64(1); v <= versions; v++ {
				var events []bus.Event
				for _, k := range rnd.Perm(keys) {
					e := created(t, fmt.Sprint("k", k), v, "")
					e.At = bus.Position{Topic: topic, Offset: -1}
					events = append(events, e)
					if k%10 == 0 { // and keys that nobody has seen
						e.Key = fmt.Sprint("new", k, "-", v)
						e.Version = 1
						events = append(events, e)
					}
					if also {
						events = append(events, loose(t, v, k))
					}
				}
				for err := in.handle(context.Background(), bus.Delivery{Events: events}); err != nil; {
					if failed.Add(1); errors.Is(err, errMoved) {
						moved.Add(1)
					} else {
						t.Error(err)
						return
					}
					err = in.handle(context.Background(), bus.Delivery{Events: events})
				}
			}
		})
	}
	all.Wait()
	in := s.replica(recordAll())
	wantVersionsInOrder(t, in)
	seen := keys*versions + keys/10*versions
	want := seen
	if also {
		want += keys * versions
	}
	if st := status(t, in); st.Versions != uint64(seen) || st.Missing != 0 || len(applications(t, in.cfg.DB)) != want {
		t.Errorf("status is %+v, %d applications, want %d", st, len(applications(t, in.cfg.DB)), want)
	}
	t.Logf("%d deliveries came again, %d for a row that was moved", failed.Load(), moved.Load())
	if moved.Load() > 0 {
		t.Error("a replica was outrun more often than it tries by itself")
	}
}

// loose makes an event without a version, always with the same id.
func loose(t testing.TB, v uint64, k int) bus.Event {
	e := created(t, "loose", 0, "")
	e.ID, e.At = fmt.Sprint("loose", v, "-", k), bus.Position{Topic: topic, Offset: -1}
	return e
}

// wantVersionsInOrder looks at what has versions, which come one after another in each key.
func wantVersionsInOrder(t testing.TB, in *Inbox) {
	t.Helper()
	wantOrderWithinKeys(t, slices.DeleteFunc(applications(t, in.cfg.DB), func(a string) bool {
		_, v := parseApplied(t, a)
		return v == 0
	}))
}

// Whatever stands in a key, the database is asked for that one.
func TestOddKeysAreFoundAgainOnPostgres(t *testing.T) {
	in := newService(t).replica(recordAll(), every)
	for v := uint64(1); v <= 2; v++ {
		var events []bus.Event
		for _, key := range []string{`a`, `a"b`, `a\b`, `{a,b}`, `"`, `\`, `NULL`, `null`, ` a `, `é,日本`, `a'b`} {
			events = append(events, at0(updated(t, key, v, "")))
		}
		hear(t, in, events...)
		hear(t, in, events...)
	}
	wantStatus(t, in, Status{Keys: 11, Versions: 22, Duplicates: 22})
}

// A key without a mark has no row to be locked: who comes second finds out at the end, and takes back what it did.
func TestANewKeyIsTakenByOneOnPostgres(t *testing.T) {
	s := newService(t)
	one, two := s.replica(recordAll()), s.replica(recordAll())
	hear(t, one, at0(created(t, "known", 1, "")))
	d, done := bus.Delivery{Events: []bus.Event{at0(created(t, "new", 1, ""))}}, make(chan error, 1)
	_, err := one.transact(t.Context(), func(ctx context.Context, a *attempt) error {
		if err := a.deliver(ctx, d); err != nil {
			return err
		}
		go func() { done <- two.handle(context.Background(), d) }()
		s.wantWaiting(two)
		return nil
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	wantApplied(t, one, "known:1 ", "new:1 ")
	wantStatus(t, one, Status{Keys: 2, Versions: 2, Duplicates: 1})
}

func TestReplicasBeginAStreamTogetherOnPostgres(t *testing.T) {
	s := newService(t)
	ins := []*Inbox{s.replica(recordAll()), s.replica(recordAll()), s.replica(recordAll())}
	const streams = 15
	for n := range streams {
		var all sync.WaitGroup
		for _, in := range ins {
			all.Go(func() {
				e := numbered(created(t, fmt.Sprint("k", n), 1, ""), fmt.Sprint("log", n), 1)
				e.Source = fmt.Sprint("/source", n)
				if err := in.handle(context.Background(), bus.Delivery{Events: []bus.Event{e}}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if st := status(t, ins[0]); len(st.Streams) != streams || st.Missed != 0 || st.Keys != streams || st.Duplicates != 2*streams {
		t.Errorf("status is %+v", st)
	}
}

func TestReplicasFixTheStartOfAGroupOnceOnPostgres(t *testing.T) {
	s := newService(t)
	one, two := s.replica(recordAll()), s.replica(recordAll())
	// The log grows, and each was told of another place at which the group is to begin.
	begins := func(at int64) []bus.Partition {
		return []bus.Partition{partition(1, "l", 0, 1000, at), partition(0, "l", 0, 1000, at)}
	}
	done := make(chan []int64, 1)
	err := one.writer.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		r := &resumption{in: one, tx: tx, stored: make(map[string]map[int32]stored)}
		for _, i := range inOrder(begins(100)) {
			if _, err := r.next(ctx, begins(100)[i]); err != nil {
				return err
			}
		}
		go func() {
			next, err := two.resume(context.Background(), begins(101))
			if err != nil {
				t.Error(err)
			}
			done <- next
		}()
		s.wantWaiting(two)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if next := <-done; !slices.Equal(next, []int64{100, 100}) {
		t.Errorf("the second was told to begin at %v", next)
	}
	wantPositions(t, one, 100, 100)
}

func TestReplicasPerformEachReactionOnceOnPostgres(t *testing.T) {
	const keys, versions = 30, 5
	s, m := newService(t), &mailer{}
	r := newRecorder(t)
	for range 3 {
		run(t, s.replica([]Route{After(m.perform)}, func(c *Config) { c.Workers = 3 }), r)
	}
	for v := uint64(1); v <= versions; v++ {
		for k := range keys {
			publish(t, r, created(t, fmt.Sprint("k", k), v, ""))
		}
	}
	in := s.replica([]Route{After(m.perform)})
	eventually(t, func() string {
		if st := status(t, in); st.Queue > 0 || st.Versions < keys*versions {
			return fmt.Sprintf("status is %+v", st)
		}
		return ""
	})
	sent := m.sent()
	if len(sent) != keys*versions {
		t.Errorf("%d were performed, want %d", len(sent), keys*versions)
	}
	wantOrderWithinKeys(t, sentAsApplied(sent))
	if s.logs.has("level=WARN", "reaction") || s.logs.has("level=ERROR") {
		t.Errorf("one that was outrun is to be quiet: %s", s.logs.String())
	}
}

// sentAsApplied makes them look like applications.
func sentAsApplied(sent []string) []string {
	all := slices.Clone(sent)
	for i := range all {
		all[i] += " "
	}
	return all
}

func TestTenStartAtOnceOnPostgres(t *testing.T) {
	s := newService(t)
	groups := make(chan string, 10)
	var all sync.WaitGroup
	for range cap(groups) {
		cfg := config(t, openDB(t, s.path))
		all.Go(func() {
			in, err := New(cfg, recordAll()...)
			if err != nil {
				t.Error(err)
				return
			}
			groups <- in.group
		})
	}
	all.Wait()
	close(groups)
	first := <-groups
	for g := range groups {
		if g != first {
			t.Errorf("of one database one replica is %q and another %q", first, g)
		}
	}
}

// After a statement that failed Postgres takes nothing more. A handler that passes over it has failed.
func TestAnErrorThatIsPassedOverIsTheHandlersOnPostgres(t *testing.T) {
	s, careless := newService(t), true
	in := s.replica([]Route{On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
		switch {
		case e.Key == "never":
			return bus.Permanent(errTest)
		case e.Key == "careless" && careless:
			_, _ = tx.ExecContext(ctx, `INSERT INTO applied (n) VALUES ('no number')`)
			return nil
		}
		return insert(ctx, tx, &e, "")
	})})
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "never", 1, ""), created(t, "careless", 1, ""), created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	l.play(in, cut{0, 1, 3})
	wantApplied(t, in, "a:1 ")
	if st := status(t, in); st.Parked != 2 || st.Dead != 1 || st.Keys != 3 {
		t.Fatalf("status is %+v", st)
	}
	careless = false
	run(t, in, newRecorder(t))
	await(t, in, "careless", 1)
	wantApplied(t, in, "a:1 ", "careless:1 ")
}

// A handler that makes a refusal for good of a fault of the store parks nothing, alone or among others.
func TestAFaultOfTheStoreIsNeverParkedOnPostgres(t *testing.T) {
	s := newService(t)
	in := s.replica([]Route{On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
		if e.Key == "never" {
			return bus.Permanent(errTest)
		}
		if _, err := tx.ExecContext(ctx, `SET LOCAL lock_timeout = '20ms'`); err != nil {
			return err
		}
		if err := insert(ctx, tx, &e, ""); err != nil {
			return bus.Permanent(errors.New("this can't be stored")) // it says nothing of why
		}
		return nil
	})})
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "never", 1, ""), created(t, "a", 1, ""), created(t, "b", 1, ""))
	other, err := in.cfg.DB.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = other.Exec(`LOCK TABLE applied IN ACCESS EXCLUSIVE MODE`)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []cut{{0, 1, 2}, {0, 0, 3}} { // alone, and carefully, for the sake of the one before
		mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = $1`, c.from)
		if err := in.handle(t.Context(), l.delivery(c)); err == nil || bus.IsPermanent(err) {
			t.Errorf("the bus hears %v", err)
		}
	}
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, in, Status{})
	l.play(in, cut{0, 0, 3})
	wantApplied(t, in, "a:1 ", "b:1 ")
}

func TestTextsAreInTheOrderOfBytesOnPostgres(t *testing.T) {
	pgtest.WantByteOrder(t, newService(t).replica(recordAll()).cfg.DB, "error")
}
