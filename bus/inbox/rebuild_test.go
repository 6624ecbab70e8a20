package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"google.golang.org/protobuf/proto"
)

// newest is a projection: one row a key, as of the newest version.
func newest(t testing.TB, db *sql.DB) []Route {
	mustExec(t, db, `CREATE TABLE IF NOT EXISTS newest (key TEXT PRIMARY KEY, version INTEGER, name TEXT)`)
	set := func(ctx context.Context, tx Tx, e *bus.Event, name string) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO newest (key, version, name) VALUES ($1, $2, $3)
			ON CONFLICT (key) DO UPDATE SET version = excluded.version, name = excluded.name`, e.Key, int64(e.Version), name)
		return err
	}
	return []Route{
		On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
			return set(ctx, tx, &e, m.GetUser().GetName())
		}),
		On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserUpdated) error {
			return set(ctx, tx, &e, m.GetUser().GetName())
		}),
	}
}

// empty empties that projection.
func empty(ctx context.Context, tx Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM newest`)
	return err
}

// projected reads it, in order of key.
func projected(t testing.TB, db *sql.DB) (all []string) {
	t.Helper()
	err := query(t.Context(), db, func(row scanner) error {
		var key, name string
		var version int64
		err := row.Scan(&key, &version, &name)
		all = append(all, fmt.Sprintf("%s:%d %s", key, version, name))
		return err
	}, `SELECT key, version, name FROM newest`)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func rebuild(t testing.TB, in *Inbox) {
	t.Helper()
	if err := Rebuild(t.Context(), in.cfg.DB, in.cfg.Group, empty); err != nil {
		t.Fatal(err)
	}
}

func wantProjected(t testing.TB, db *sql.DB, want ...string) {
	t.Helper()
	eventually(t, func() string {
		if got := projected(t, db); !slices.Equal(got, want) {
			return fmt.Sprintf("it holds %v, want %v", got, want)
		}
		return ""
	})
}

// What was done wrong, and what nobody ever told, is gone afterwards; a group that once began at the end of the log
// reads all of it.
func TestARebuildBeginsFromNothing(t *testing.T) {
	t.Parallel() // it waits for a look at the rows, a second at a time
	r := newRecorder(t)
	publish(t, r, created(t, "a", 1, "A"), created(t, "b", 1, "B"))
	cfg := config(t, newDB(t))
	cfg.Start = bus.Latest()
	in := mustNew(t, cfg, newest(t, cfg.DB)...)
	stop := run(t, in, r)
	eventually(t, func() string {
		if len(status(t, in).Positions) == 0 {
			return "its start is not fixed yet"
		}
		return ""
	})
	publish(t, r, updated(t, "a", 2, "AA"), created(t, "c", 1, "C"))
	await(t, in, "a", 2)
	await(t, in, "c", 1)
	for _, running := range []bool{true, false} {
		if !running {
			stop()
		}
		mustExec(t, cfg.DB, `UPDATE newest SET name = 'wrong' WHERE key = 'a'`)
		mustExec(t, cfg.DB, `INSERT INTO newest (key, version, name) VALUES ('x', 1, 'nobody')`)
		rebuild(t, in)
		if !running {
			wantProjected(t, cfg.DB)
			run(t, in, r)
		}
		wantProjected(t, cfg.DB, "a:2 AA", "b:1 B", "c:1 C")
		await(t, in, "a", 2)
	}
	if s := status(t, in); s.Keys != 3 || s.Versions != 4 || s.Missing != 0 || s.Lost != 0 || s.Resets != 0 {
		t.Fatalf("status is %+v", s)
	}
	publish(t, r, updated(t, "c", 2, "CC"))
	await(t, in, "c", 2)
}

// rowsOf counts what each of the inbox's tables has, but for those that a rebuild leaves alone.
func rowsOf(t testing.TB, db *sql.DB) map[string]int {
	t.Helper()
	tables := []string{"mark", "done", "hole", "waiting", "parked", "counter", "ignored", "stream", "missed", "pace"}
	n := make(map[string]int)
	for _, name := range tables {
		var rows int
		if err := db.QueryRow(`SELECT COUNT(*) FROM tidings_inbox_` + name).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		n[name] = rows
	}
	return n
}

// fillAll gives a group rows in every table that a rebuild empties.
func fillAll(t *testing.T, db *sql.DB, group string) {
	t.Helper()
	cfg := config(t, db)
	cfg.Group, cfg.Gaps = group, Every
	routes := recordAll()[:1]
	routes[0].event = func(_ context.Context, _ Tx, e *bus.Event, _ proto.Message) error {
		if e.Key == "parked" {
			return bus.Permanent(errTest)
		}
		return nil
	}
	in, l := mustNew(t, cfg, routes...), newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"), created(t, "parked", 1, "P"), updated(t, "a", 2, "ignored"), created(t, "w", 3, "waits"),
		created(t, "loose", 0, "L"), created(t, "a", 1, "A"))
	l.play(in, cut{0, 0, 6})
	// It has waited and left holes as a history, of which no row says now that it was one.
	mustExec(t, db, `UPDATE tidings_inbox_group SET history = 0 WHERE grp = $1`, group)
	mustExec(t, db, `INSERT INTO tidings_inbox_hole (source, key, first, last)
		SELECT id, 'h', 1, 2 FROM tidings_inbox_source WHERE grp = $1`, group)
	mustExec(t, db, `INSERT INTO tidings_inbox_stream (grp, topic, source, log, first, highest, whole, folded, ranges, rev)
		VALUES ($1, 't', 's', 'l', 1, 9, $2, 0, 1, 1)`, group, false)
	mustExec(t, db, `INSERT INTO tidings_inbox_missed (stream, first, last)
		SELECT id, 2, 3 FROM tidings_inbox_stream WHERE grp = $1`, group)
}

func TestARebuildLeavesNothingOfTheGroup(t *testing.T) {
	db := newDB(t)
	newest(t, db)
	fillAll(t, db, "one")
	one := rowsOf(t, db)
	for table, n := range one {
		if n == 0 {
			t.Fatalf("the test has nothing in %s", table)
		}
	}
	fillAll(t, db, "two")
	if err := Rebuild(t.Context(), db, "one", empty); err != nil {
		t.Fatal(err)
	}
	for table, n := range rowsOf(t, db) {
		if n != one[table] {
			t.Errorf("%s has %d rows, want the %d of the other group", table, n, one[table])
		}
	}
	at, err := Positions(t.Context(), db, "one")
	if err != nil || len(at) != 1 || at[0].Offset != FromStart {
		t.Errorf("positions of the group are %+v, %v", at, err)
	}
	if at, err = Positions(t.Context(), db, "two"); err != nil || at[0].Offset != 6 {
		t.Errorf("positions of the other group are %+v, %v", at, err)
	}
}

func TestARebuildThatFailsChangesNothing(t *testing.T) {
	db := newDB(t)
	newest(t, db)
	fillAll(t, db, "test")
	mustExec(t, db, `INSERT INTO newest (key, version, name) VALUES ('a', 1, 'A')`)
	before := rowsOf(t, db)
	err := Rebuild(t.Context(), db, "test", func(ctx context.Context, tx Tx) error {
		return errors.Join(empty(ctx, tx), errTest)
	})
	if !errors.Is(err, errTest) {
		t.Fatalf("Rebuild = %v, want the error of who empties", err)
	}
	for table, n := range rowsOf(t, db) {
		if n != before[table] {
			t.Errorf("%s has %d rows, want %d", table, n, before[table])
		}
	}
	if at, err := Positions(t.Context(), db, "test"); err != nil || at[0].Offset != 6 {
		t.Errorf("positions are %+v, %v", at, err)
	}
	wantProjected(t, db, "a:1 A")
}

func TestHistoriesAndReactionsAreNotRebuilt(t *testing.T) {
	every := config(t, newDB(t))
	every.Gaps = Every
	after := config(t, newDB(t))
	for _, in := range []*Inbox{
		mustNew(t, every, recordAll()...),
		mustNew(t, after, After(func(context.Context, bus.Event, *eventsv1.UserCreated) error { return nil })),
	} {
		l := newTape(t, 1)
		l.resume(in)
		l.put(0, created(t, "a", 1, "A"))
		l.play(in, cut{0, 0, 1})
		if err := Rebuild(t.Context(), in.cfg.DB, "test", untouched(t)); !errors.Is(err, ErrNotRebuilt) {
			t.Fatalf("Rebuild = %v, want ErrNotRebuilt", err)
		}
		if s := status(t, in); s.Keys != 1 {
			t.Fatalf("status is %+v", s)
		}
	}
}

// Rebuilt again and again while events come, and while replicas share the work, it is right in the end, and nobody has
// waited in a circle.
func TestARebuildUnderLoad(t *testing.T) { rebuildUnderLoad(t, 1) }

func TestARebuildBesideReplicasOnPostgres(t *testing.T) {
	pgtest.Server(t)
	t.Run("two", func(t *testing.T) { rebuildUnderLoad(t, 2) })
}

// Whoever holds a mark, as a retry of what is parked does, may take a later one while a rebuild waits for it, in whatever
// order the rows lie in their table.
func TestARebuildTakesItsLocksInOrderOnPostgres(t *testing.T) {
	s := newService(t)
	in, l := s.replica(recordAll()), newTape(t, 1)
	l.resume(in)
	for i, key := range []string{"z", "m", "a"} {
		l.put(0, created(t, key, 1, key))
		l.play(in, cut{0, int64(i), int64(i + 1)})
	}
	tx, err := in.cfg.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	lock := func(key string) {
		t.Helper()
		if _, err := tx.Exec(`SELECT 1 FROM tidings_inbox_mark WHERE key = $1 FOR UPDATE`, key); err != nil {
			t.Fatal(err)
		}
	}
	lock("a")
	done := make(chan error, 1)
	go func() {
		done <- Rebuild(context.Background(), in.cfg.DB, "test", func(context.Context, Tx) error { return nil })
	}()
	s.wantWaiting(in)
	lock("z")
	if err := errors.Join(tx.Commit(), <-done); err != nil {
		t.Fatal(err)
	}
}

func rebuildUnderLoad(t *testing.T, replicas int) {
	r := newRecorder(t)
	db := newDB(t)
	var heard logs
	var in *Inbox
	for range replicas {
		cfg := config(t, db)
		cfg.MaxBatch, cfg.Logger = 20, heard.logger()
		in = mustNew(t, cfg, newest(t, db)...)
		run(t, in, r)
	}
	const keys, versions = 30, 20
	var want []string
	for v := uint64(1); v <= versions; v++ {
		for k := range keys {
			key := fmt.Sprintf("k%02d", k)
			publish(t, r, updated(t, key, v, fmt.Sprint(v)))
			if v == versions {
				want = append(want, fmt.Sprintf("%s:%d %d", key, v, v))
			}
		}
		if v%5 == 0 {
			await(t, in, "k00", v) // it reads; the rest is on its way
			mustExec(t, db, `INSERT INTO newest (key, version, name) VALUES ($1, 1, 'nobody')`, fmt.Sprint("x", v))
			rebuild(t, in)
		}
	}
	wantProjected(t, db, want...)
	eventually(t, func() string {
		if s := status(t, in); s.Keys != keys || s.Versions != keys*versions || s.Lag != 0 || s.Missing != 0 {
			return fmt.Sprintf("status is %+v", s)
		}
		return ""
	})
	if strings.Contains(heard.String(), "deadlock") {
		t.Errorf("somebody waited in a circle: %s", heard.String())
	}
}

// On Kafka, whose consumer has read to the end of the log and is told nothing more.
func TestRewindAndRebuildOnKafka(t *testing.T) {
	t.Parallel() // it waits for a look at the rows, a second at a time
	b := openBus(t, brokerURL(t))
	cfg := config(t, newDB(t))
	cfg.Topics = []string{uniqueTopic()}
	in := mustNew(t, cfg, newest(t, cfg.DB)...)
	var want []string
	for k := range 20 {
		key := fmt.Sprintf("k%02d", k)
		want = append(want, key+":2 B")
		if err := b.Publish(t.Context(), cfg.Topics[0], created(t, key, 1, "A"), updated(t, key, 2, "B")); err != nil {
			t.Fatal(err)
		}
	}
	run(t, in, b)
	wantProjected(t, cfg.DB, want...)
	mustExec(t, cfg.DB, `DELETE FROM newest WHERE key < 'k10'`)
	mustExec(t, cfg.DB, `DELETE FROM tidings_inbox_mark WHERE key < 'k10'`)
	rewind(t, in)
	wantProjected(t, cfg.DB, want...)
	mustExec(t, cfg.DB, `UPDATE newest SET name = 'wrong'`)
	rebuild(t, in)
	wantProjected(t, cfg.DB, want...)
	mustExec(t, cfg.DB, `DELETE FROM newest`)
	mustExec(t, cfg.DB, `DELETE FROM tidings_inbox_mark`)
	mustExec(t, cfg.DB, `DELETE FROM tidings_inbox_position`)
	wantProjected(t, cfg.DB, want...)
	if s := status(t, in); s.Keys != 20 || s.Versions != 40 || s.Missing != 0 {
		t.Fatalf("status is %+v", s)
	}
}
