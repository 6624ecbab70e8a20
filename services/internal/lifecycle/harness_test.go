package lifecycle_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const api = "directory.v1.DirectoryService"

var migrations = fstest.MapFS{"migrations/sqlite/00001_people.sql": {
	Data: []byte("-- +goose Up\nCREATE TABLE people (id TEXT PRIMARY KEY);"),
}}

// away is a bus whose broker can't be reached: it opens, and waits.
type away struct{ bus.Bus }

func (away) Subscribe(ctx context.Context, _ bus.Subscription, _ bus.Handler) error {
	<-ctx.Done()
	return nil
}
func (away) Guarantees() bus.Guarantees  { return bus.All() }
func (away) Close(context.Context) error { return nil }

// openBus opens b, whatever the address is.
func openBus(b bus.Bus) lifecycle.OpenBus {
	return func(context.Context, string, *slog.Logger) (bus.Bus, error) { return b, nil }
}

// people is the service of these tests: it keeps the keys of all events, as a stranger might without an inbox.
type people struct {
	directoryv1.UnimplementedDirectoryServiceServer
	db *sql.DB
}

func (s *people) GetPerson(ctx context.Context, req *directoryv1.GetPersonRequest) (*directoryv1.GetPersonResponse, error) {
	p := &directoryv1.Person{}
	err := s.db.QueryRowContext(ctx, `SELECT id FROM people WHERE id = $1`, req.GetId()).Scan(&p.Id)
	return &directoryv1.GetPersonResponse{Person: p}, err
}

func (s *people) count(ctx context.Context, st *lifecycle.Status) error {
	st.Lag = 0
	return s.db.QueryRowContext(ctx, `SELECT count(*) FROM people`).Scan(&st.Count)
}

func (s *people) take(ctx context.Context, d bus.Delivery) error {
	for _, e := range d.Events {
		if _, err := s.db.ExecContext(ctx, `INSERT INTO people VALUES ($1) ON CONFLICT DO NOTHING`, e.Key); err != nil {
			return err
		}
	}
	return nil
}

// build is the whole of the service's Build.
func build(_ context.Context, p *lifecycle.Parts) error {
	s := &people{db: p.DB.DB}
	directoryv1.RegisterDirectoryServiceServer(p.GRPC, s)
	p.Go("subscription", func(ctx context.Context) error {
		return p.Bus.Subscribe(ctx, bus.Subscription{Group: "people", Topics: []string{"t"}, OnReady: p.GRPC.SetBus}, s.take)
	})
	p.OnStatus(s.count)
	return nil
}

// spec is a service whose database is in a folder of its own.
func spec(t *testing.T) lifecycle.Spec {
	t.Helper()
	return lifecycle.Spec{
		Name: "people", API: api, Migrations: migrations, Build: build,
		Config: config.Common{Bus: "any", DB: filepath.Join(t.TempDir(), "people.db"), Listen: "127.0.0.1:0", Topic: "t"},
	}
}

func newRunner(s lifecycle.Spec, b bus.Bus) *lifecycle.Runner {
	return lifecycle.New(s, lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: openBus(b)})
}

// life is one Run of a service.
type life struct {
	info  lifecycle.Info
	stop  context.CancelFunc
	ended chan error
}

// run starts a Run and waits until it is ready. It is stopped when the test ends, at the latest.
func run(t *testing.T, s lifecycle.Service) *life {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{stop: cancel, ended: make(chan error, 1)}
	ready := make(chan lifecycle.Info, 1)
	go func() { l.ended <- s.Run(ctx, func(i lifecycle.Info) { ready <- i }) }()
	t.Cleanup(cancel)
	select {
	case l.info = <-ready:
	case err := <-l.ended:
		t.Fatalf("it ended before it was ready: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("it does not become ready")
	}
	return l
}

// wait waits for the end of the Run and returns its error.
func (l *life) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-l.ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("it does not stop")
		return nil
	}
}

// end stops the Run, which has to go well.
func (l *life) end(t *testing.T) {
	t.Helper()
	l.stop()
	if err := l.wait(t); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// statusIs waits until the status is as good says.
func statusIs(t *testing.T, s lifecycle.Service, good func(lifecycle.Status) bool) lifecycle.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := s.Status(ctx)
		if err == nil && good(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the status stays %+v (%v)", st, err)
		}
	}
}

// publish stores an event of each key in the recorder.
func publish(t *testing.T, r *bustest.Recorder, keys ...string) {
	t.Helper()
	for _, key := range keys {
		e := bus.Event{ID: key, Source: "/users", Type: "T", Key: key, Version: 1, Data: []byte("x"), DataType: "text/plain"}
		if err := r.Publish(t.Context(), "t", e); err != nil {
			t.Fatal(err)
		}
	}
}

// mustListen takes an address, so that nobody else can have it.
func mustListen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var errBroken = errors.New("it is broken")
