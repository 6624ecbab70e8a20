package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunTakesEventsIn(t *testing.T) {
	r := newRecorder(t)
	var ready []bool
	var mu sync.Mutex
	cfg := config(t, newDB(t))
	cfg.OnReady = func(is bool) { mu.Lock(); defer mu.Unlock(); ready = append(ready, is) }
	in := mustNew(t, cfg, recordAll()...)
	publish(t, r, created(t, "a", 1, "A"), created(t, "b", 1, "B"))
	stop := run(t, in, r)
	await(t, in, "a", 1)
	publish(t, r, updated(t, "a", 2, "AA"), deleted(t, "b", 2))
	await(t, in, "a", 2)
	await(t, in, "b", 2)
	s := status(t, in)
	if s.Keys != 2 || s.Versions != 4 || s.Lag != 0 || len(s.Positions) != 4 {
		t.Fatalf("status is %+v", s)
	}
	stop()
	if n := status(t, in).Lag; n != -1 {
		t.Fatalf("lag is %d while Run does not run, want -1", n)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ready) == 0 || !ready[0] {
		t.Fatalf("OnReady heard %v, want true first", ready)
	}
}

func TestASecondDatabaseIsAGroupOfItsOwn(t *testing.T) {
	r := newRecorder(t)
	publish(t, r, created(t, "a", 1, "A"), created(t, "b", 1, "B"), created(t, "c", 1, "C"))
	for range 2 {
		in := mustNew(t, config(t, newDB(t)), recordAll()...)
		run(t, in, r)
		for _, key := range []string{"a", "b", "c"} {
			await(t, in, key, 1)
		}
	}
}

func TestReplicasShareADatabaseAndApplyOnce(t *testing.T) {
	db := newDB(t)
	r := newRecorder(t)
	var ins []*Inbox
	for range 2 {
		in := mustNew(t, config(t, db), recordAll()...)
		run(t, in, r)
		ins = append(ins, in)
	}
	const keys = 50
	for v := uint64(1); v <= 4; v++ {
		for k := range keys {
			publish(t, r, created(t, fmt.Sprint("k", k), v, ""))
		}
	}
	for k := range keys {
		await(t, ins[k%2], fmt.Sprint("k", k), 4)
	}
	wantOrderWithinKeys(t, applications(t, db))
	if n := len(applications(t, db)); n != 4*keys {
		t.Fatalf("%d applications, want %d", n, 4*keys)
	}
}

func TestRunRefusesABusThatLacksWhatIsRequired(t *testing.T) {
	cfg := config(t, newDB(t))
	cfg.Require = bus.Guarantees{Durable: true, Replayable: true}
	in := mustNew(t, cfg, recordAll()...)
	var e *bus.GuaranteeError
	err := in.Run(t.Context(), lacking{newRecorder(t)})
	if !errors.As(err, &e) || e.Missing != (bus.Guarantees{Replayable: true}) {
		t.Fatalf("Run = %v, want a GuaranteeError that names what is missing", err)
	}
}

// lacking is a bus whose log is not kept for ever.
type lacking struct{ *bustest.Recorder }

func (lacking) Guarantees() bus.Guarantees {
	return bus.Guarantees{Durable: true, Groups: true, OrderedByKey: true}
}

func TestRunSaysOnceWhatItDoesWithout(t *testing.T) {
	cfg := config(t, newDB(t))
	var logged logs
	cfg.Logger = logged.logger()
	in := mustNew(t, cfg, recordAll()...)
	r := newRecorder(t)
	publish(t, r, created(t, "a", 1, "A"))
	stop := run(t, in, lacking{r})
	await(t, in, "a", 1)
	stop()
	if n := strings.Count(logged.String(), "without=replayable"); n != 1 {
		t.Fatalf("it was said %d times: %s", n, logged.String())
	}
}

func TestRunRunsOnceAtATime(t *testing.T) {
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	r := newRecorder(t)
	publish(t, r, created(t, "a", 1, "A"))
	stop := run(t, in, r)
	await(t, in, "a", 1)
	if err := in.Run(t.Context(), r); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Fatalf("a second Run = %v", err)
	}
	stop()
	stop = run(t, in, r) // but it can run again
	publish(t, r, updated(t, "a", 2, "A"))
	await(t, in, "a", 2)
	stop()
}

func TestRunReturnsWhyTheSubscriptionEnded(t *testing.T) {
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	r := newRecorder(t)
	r.Close(t.Context())
	if err := in.Run(t.Context(), r); !errors.Is(err, bus.ErrClosed) {
		t.Fatalf("Run = %v, want ErrClosed", err)
	}
}

func TestRunOutlivesTheBrokerAndFaultsOfTheStore(t *testing.T) {
	r := newRecorder(t)
	r.SetDown(true)
	routes := recordAll()
	insertIt, failures := routes[0].event, 2
	routes[0].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
		if failures--; failures >= 0 {
			return bus.RetryAfter(time.Millisecond, errStore)
		}
		return insertIt(ctx, tx, e, m)
	}
	in := mustNew(t, config(t, newDB(t)), routes...)
	run(t, in, r)
	if s := status(t, in); s.Lag != -1 {
		t.Fatalf("lag is %d while the broker is away, want -1", s.Lag)
	}
	r.SetDown(false)
	publish(t, r, created(t, "a", 1, "A"))
	await(t, in, "a", 1)
	wantApplied(t, in, "a:1 A")
}

func TestATopicThatIsMadeAnewIsReadFromItsStart(t *testing.T) {
	r := newRecorder(t, bustest.WithPartitions(1))
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	publish(t, r, created(t, "a", 1, "A"), created(t, "b", 1, "B"))
	run(t, in, r)
	await(t, in, "b", 1)
	r.DeleteTopic(topic)
	publish(t, r, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"), created(t, "c", 1, "C"))
	await(t, in, "a", 2)
	await(t, in, "c", 1)
	wantApplied(t, in, "a:1 A", "b:1 B", "a:2 AA", "c:1 C")
	if s := status(t, in); s.Resets != 1 || s.Lag != 0 {
		t.Fatalf("status is %+v, want 1 reset", s)
	}
}

func TestEventsThatTheLogNoLongerHoldsAreCounted(t *testing.T) {
	r := newRecorder(t, bustest.WithPartitions(1))
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	publish(t, r, created(t, "a", 1, "A"))
	stop := run(t, in, r)
	await(t, in, "a", 1)
	stop()
	publish(t, r, updated(t, "a", 2, "A2"), updated(t, "a", 3, "A3"), updated(t, "a", 4, "A4"))
	r.Truncate(topic, 0, 3)
	run(t, in, r)
	await(t, in, "a", 4)
	wantApplied(t, in, "a:1 A", "a:4 A4")
	if s := status(t, in); s.Lost != 2 || s.Missing != 2 || s.Resets != 1 {
		t.Fatalf("status is %+v, want 2 offsets lost and 2 versions missing", s)
	}
}

func TestNewPartitionsAreRead(t *testing.T) {
	r := newRecorder(t, bustest.WithPartitions(1))
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	publish(t, r, created(t, "a", 1, "A"))
	stop := run(t, in, r)
	await(t, in, "a", 1)
	stop()
	r.AddPartitions(topic, 6)
	var keys []string
	for i := range 20 {
		keys = append(keys, fmt.Sprint("k", i))
		publish(t, r, created(t, keys[i], 1, ""))
	}
	run(t, in, r)
	for _, key := range keys {
		await(t, in, key, 1)
	}
	if s := status(t, in); len(s.Positions) != 6 || s.Missing != 0 {
		t.Fatalf("status is %+v, want 6 positions and nothing missing", s)
	}
}

// A database that is put back to an older copy gets exactly what it lacks; one that is emptied gets everything.
func TestARestoredOrEmptiedDatabaseGetsWhatItLacks(t *testing.T) {
	r := newRecorder(t)
	path := filepath.Join(t.TempDir(), "service.db")
	db := openDB(t, path)
	mustExec(t, db, `CREATE TABLE applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
	in := mustNew(t, config(t, db), recordAll()...)
	publish(t, r, created(t, "a", 1, "A"), created(t, "b", 1, "B"))
	stop := run(t, in, r)
	await(t, in, "a", 1)
	await(t, in, "b", 1)
	copied := filepath.Join(t.TempDir(), "copy.db")
	keep(t, db, path, copied)
	publish(t, r, updated(t, "a", 2, "AA"), created(t, "c", 1, "C"))
	await(t, in, "a", 2)
	await(t, in, "c", 1)
	stop()
	want := applications(t, db)
	for _, from := range []string{copied, ""} {
		db.Close()
		replace(t, path, from)
		db = openDB(t, path)
		mustExec(t, db, `CREATE TABLE IF NOT EXISTS applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
		in = mustNew(t, config(t, db), recordAll()...)
		stop = run(t, in, r)
		await(t, in, "a", 2)
		await(t, in, "b", 1)
		await(t, in, "c", 1)
		stop()
		got := applications(t, db)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("after the database was replaced by %q it holds %v, want %v", from, got, want)
		}
		if n := status(t, in).Duplicates; n != 0 {
			t.Fatalf("%d events were read that it had already", n)
		}
	}
}

// keep makes a copy of a database.
func keep(t testing.TB, db *sql.DB, path, copied string) {
	t.Helper()
	if pgtest.On(t) {
		pgtest.Copy(t, path, copied)
		return
	}
	mustExec(t, db, `VACUUM INTO '`+copied+`'`)
}

// replace puts another file in a database's place; "" removes it.
func replace(t testing.TB, path, from string) {
	t.Helper()
	if pgtest.On(t) {
		pgtest.Restore(t, path, from)
		return
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		os.Remove(path + end)
	}
	if from == "" {
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLag(t *testing.T) {
	pos := func(log string, n int32, at int64) bus.Position {
		return bus.Position{Topic: topic, Log: log, Partition: n, Offset: at}
	}
	parts := []bus.Partition{partition(0, "l", 10, 50, 10), partition(1, "l", 0, 7, 0)}
	for _, tt := range []struct {
		name string
		at   []bus.Position
		want int64
	}{
		{"nothing read", nil, 47},
		{"half read", []bus.Position{pos("l", 0, 30), pos("l", 1, 7)}, 20},
		{"another log", []bus.Position{pos("k", 0, 30), pos("l", 1, 7)}, 40},
		{"outside of the log", []bus.Position{pos("l", 0, 3), pos("l", 1, 99)}, 47},
		{"all read", []bus.Position{pos("l", 0, 50), pos("l", 1, 7)}, 0},
	} {
		if got := lagOf(parts, tt.at); got != tt.want {
			t.Errorf("%s: the lag is %d, want %d", tt.name, got, tt.want)
		}
	}
}
