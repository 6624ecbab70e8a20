package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"google.golang.org/protobuf/proto"
)

const (
	topic  = "user_activity"
	source = "/users"
)

// soon bounds every wait of a test for something that should happen at once.
const soon = 60 * time.Second

// openDB opens a database file as a service does, with further parameters, or the schema that stands for it.
func openDB(t testing.TB, path string, more ...string) *sql.DB {
	t.Helper()
	if pgtest.On(t) {
		return pgtest.Open(t, path)
	}
	db, err := sql.Open("sqlite3", "file:"+path+"?"+strings.Join(more, "&")+"&_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// newDB makes a database with a table that the handlers of tests write to: one row for each application, in order.
func newDB(t testing.TB) *sql.DB {
	t.Helper()
	db := openDB(t, filepath.Join(t.TempDir(), "test.db"))
	mustExec(t, db, `CREATE TABLE applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
	return db
}

func mustExec(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	if pgtest.On(t) {
		if text = pgtest.Statement(text); text == "" {
			return
		}
	}
	if _, err := db.Exec(text, args...); err != nil {
		t.Fatal(err)
	}
}

// created, updated and deleted make events of a user.
func created(t testing.TB, key string, v uint64, name string) bus.Event {
	return event(t, key, v, &eventsv1.UserCreated{User: &eventsv1.User{Id: key, Name: name, Version: v}})
}

func updated(t testing.TB, key string, v uint64, name string) bus.Event {
	return event(t, key, v, &eventsv1.UserUpdated{User: &eventsv1.User{Id: key, Name: name, Version: v}})
}

func deleted(t testing.TB, key string, v uint64) bus.Event {
	return event(t, key, v, &eventsv1.UserDeleted{Id: key, Version: v})
}

func event(t testing.TB, key string, v uint64, m proto.Message) bus.Event {
	t.Helper()
	e, err := bus.NewEvent(source, key, v, m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// insert is an effect that shows every application of an event.
func insert(ctx context.Context, tx Tx, e *bus.Event, name string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO applied (key, version, name) VALUES ($1, $2, $3)`, e.Key, int64(e.Version), name)
	return err
}

// recordAll routes the three kinds of event to insert.
func recordAll() []Route {
	return []Route{
		On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
			return insert(ctx, tx, &e, m.GetUser().GetName())
		}),
		On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserUpdated) error {
			return insert(ctx, tx, &e, m.GetUser().GetName())
		}),
		On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserDeleted) error {
			return insert(ctx, tx, &e, "")
		}),
	}
}

// config is what most tests start from.
func config(t testing.TB, db *sql.DB) Config {
	return Config{Group: "test", Topics: []string{topic}, DB: db, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func mustNew(t testing.TB, cfg Config, routes ...Route) *Inbox {
	t.Helper()
	in, err := New(cfg, routes...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// run runs in on b until stop is called or the test ends. stop wants nil of Run.
func run(t testing.TB, in *Inbox, b bus.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx, b) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
		case <-time.After(soon):
			t.Error("Run did not return after its context had ended")
		}
	}
	t.Cleanup(stop)
	return stop
}

// eventually waits until fn returns "".
func eventually(t testing.TB, fn func() (wrong string)) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for {
		wrong := fn()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(wrong)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// applications reads what insert has written, in order: "key:version name".
func applications(t testing.TB, db *sql.DB) []string {
	t.Helper()
	rows, err := db.Query(`SELECT key, version, name FROM applied ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var key, name string
		var v int64
		if err := rows.Scan(&key, &v, &name); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s:%d %s", key, v, name))
	}
	return all
}

func publish(t testing.TB, b bus.Publisher, events ...bus.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := b.Publish(ctx, topic, events...); err != nil {
		t.Fatal(err)
	}
}

func await(t testing.TB, in *Inbox, key string, v uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := in.Await(ctx, source, key, v); err != nil {
		t.Fatal(err)
	}
}

func status(t testing.TB, in *Inbox) Status {
	t.Helper()
	s, err := in.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newRecorder(t testing.TB, opts ...bustest.RecorderOption) *bustest.Recorder {
	r := bustest.NewRecorder(append([]bustest.RecorderOption{bustest.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil)))}, opts...)...)
	t.Cleanup(func() { r.Close(context.Background()) })
	return r
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// has reports whether one line holds all the parts.
func (l *logs) has(parts ...any) bool {
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(parts, func(p any) bool { return !strings.Contains(line, fmt.Sprint(p)) }) {
			return true
		}
	}
	return false
}
