package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
)

// patience is how long a test waits for what has to happen.
const patience = 60 * time.Second

const topic = "things"

// newFile names a database file that the test alone has.
func newFile(t testing.TB) string { return filepath.Join(t.TempDir(), "owner.db") }

// openDB opens the file, or the schema on Postgres that stands for it.
func openDB(t testing.TB, file string) *sql.DB {
	t.Helper()
	if pgtest.On(t) {
		return pgtest.Open(t, file)
	}
	db, err := sql.Open("sqlite3", "file:"+file+"?_txlock=immediate&_busy_timeout=10000&_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// newOutbox makes an outbox whose relay is quicker to try again than it is elsewhere.
func newOutbox(t testing.TB, db *sql.DB, opts ...Option) *Outbox {
	t.Helper()
	o, err := New(t.Context(), db, append([]Option{WithLogger(logger(t))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	o.pace.firstDelay, o.pace.lastDelay = 5*time.Millisecond, 50*time.Millisecond
	o.pace.lease, o.pace.standby, o.pace.grace = 600*time.Millisecond, 5*time.Millisecond, 50*time.Millisecond
	return o
}

// event makes version v of a key.
func event(key string, v int) bus.Event {
	return bus.Event{
		ID: fmt.Sprintf("%s-%d", key, v), Source: "/things", Type: "test.Happened", Key: key, Version: uint64(v),
		Time: time.Now().UTC(), Data: fmt.Appendf(nil, "%s %d", key, v),
	}
}

// add commits events in a transaction.
func add(t testing.TB, o *Outbox, events ...bus.Event) {
	t.Helper()
	if err := addTo(t.Context(), o, topic, events...); err != nil {
		t.Fatal(err)
	}
}

func addTo(ctx context.Context, o *Outbox, topic string, events ...bus.Event) error {
	return o.InTx(ctx, func(ctx context.Context, tx Tx) error { return o.Add(ctx, tx, topic, events...) })
}

// relaying runs a relay; stop ends it, waits for it, and fails the test if it had an error. It may be called twice.
func relaying(t testing.TB, o *Outbox, b bus.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Relay(ctx, b) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("relay: %v", err)
			}
		case <-time.After(patience):
			t.Error("the relay doesn't stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

// published waits until n events have been published, and returns them as "key-version".
func published(t testing.TB, rec *bustest.Recorder, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	events, err := rec.WaitPublished(ctx, topic, n)
	if err != nil {
		t.Errorf("%d of %d events were published: %v", len(events), n, err)
	}
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

// drained waits until the outbox holds nothing to send.
func drained(t testing.TB, o *Outbox) Status {
	t.Helper()
	var s Status
	eventually(t, "the outbox to be empty", func() bool { s = status(t, o); return s.Pending == 0 })
	return s
}

func status(t testing.TB, o *Outbox) Status {
	t.Helper()
	s, err := o.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for " + what)
		}
	}
}

// inOrder checks that each key's versions came for the first time in order, without a gap, and returns how many
// events came more than once.
func inOrder(t testing.TB, rec *bustest.Recorder, want map[string]int) (repeats int) {
	t.Helper()
	last := make(map[string]int)
	for _, e := range rec.Published(topic) {
		switch v := int(e.Version); {
		case v == last[e.Key]+1:
			last[e.Key] = v
		case v <= last[e.Key]:
			repeats++
		default:
			t.Errorf("key %s: version %d after %d", e.Key, v, last[e.Key])
		}
	}
	for key, v := range want {
		if last[key] != v {
			t.Errorf("key %s: published up to version %d, want %d", key, last[key], v)
		}
	}
	return repeats
}

func logger(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.stop)
	return slog.New(&testHandler{slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}), w})
}

// testHandler knows what it has written.
type testHandler struct {
	slog.Handler
	*testWriter
}

// logged is what an outbox of newOutbox has logged.
func logged(o *Outbox) string { return o.log.Handler().(*testHandler).String() }

// rob gives the lease to somebody else, or to nobody.
func rob(t testing.TB, o *Outbox, holder string) {
	t.Helper()
	err := o.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE tidings_outbox_relay SET holder = $1, until = $2 WHERE id = 1`,
			holder, o.now().Add(o.pace.lease).UnixMicro())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// testWriter writes to the test's log until the test ends.
type testWriter struct {
	mu   sync.Mutex
	t    testing.TB
	text strings.Builder
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(time.Now().Format("05.000 ") + strings.TrimSpace(string(b)))
	}
	return w.text.Write(b)
}

func (w *testWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}

func (w *testWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// deadKeys is a bus on which some keys' partition is dead: they wait until the context ends, as on a broker.
type deadKeys struct {
	bus.Bus
	mu    sync.Mutex
	dead  func(key string) bool
	tried int // events of dead keys
}

func (d *deadKeys) set(dead func(key string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = dead
}

func (d *deadKeys) triedDead() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tried
}

// Publish passes on what is alive, and waits for the rest in vain.
func (d *deadKeys) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	failed := make(map[int]error)
	d.mu.Lock()
	for i := range events {
		if d.dead != nil && d.dead(events[i].Key) {
			failed[i] = nil
		}
	}
	d.tried += len(failed)
	d.mu.Unlock()
	for i := range events {
		if _, dead := failed[i]; dead {
			continue
		}
		if err := d.Bus.Publish(ctx, topic, events[i:i+1]...); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	<-ctx.Done()
	for i := range failed {
		failed[i] = context.Cause(ctx)
	}
	return &bus.PublishError{Topic: topic, Failed: failed}
}

func count(t testing.TB, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// plan is how the database goes about a query.
func plan(t testing.TB, db *sql.DB, query string, args ...any) (steps []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, x int
		var detail string
		if err := rows.Scan(&id, &parent, &x, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	return steps
}
