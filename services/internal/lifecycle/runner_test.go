package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// dial connects to a service that runs.
func dial(t *testing.T, l *life) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(l.info.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// healthOf returns what health says of a name now.
func healthOf(t *testing.T, conn *grpc.ClientConn, name string) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	resp, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetStatus()
}

func TestAServiceRunsStopsAndRunsAgain(t *testing.T) {
	recorder := bustest.NewRecorder()
	open := func(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error) {
		return bus.Open(ctx, "recorder://memory", recorder.Backend(), bus.WithLogger(log))
	}
	s := lifecycle.New(spec(t), lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: open})
	if st, err := s.Status(t.Context()); err != nil || st.State != lifecycle.Stopped || st.Lag != lifecycle.UnknownLag {
		t.Errorf("before Run: %+v, %v", st, err)
	}
	for round, key := range []string{"ada", "alan"} {
		publish(t, recorder, key)
		l := run(t, s)
		st := statusIs(t, s, func(st lifecycle.Status) bool { return st.Count == int64(round+1) && st.Bus })
		if st.State != lifecycle.Serving || st.Address != l.info.Address || st.Service != "people" || st.Lag != 0 {
			t.Errorf("round %d: %+v", round, st)
		}
		conn := dial(t, l)
		resp, err := directoryv1.NewDirectoryServiceClient(conn).GetPerson(t.Context(), &directoryv1.GetPersonRequest{Id: "ada"})
		if err != nil || resp.GetPerson().GetId() != "ada" {
			t.Errorf("round %d: read %v, %v", round, resp, err)
		}
		for _, name := range []string{"", api, "bus"} {
			if got := healthOf(t, conn, name); got != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("round %d: health of %q is %v", round, name, got)
			}
		}
		l.end(t)
		if st, err := s.Status(t.Context()); err != nil || st.State != lifecycle.Stopped || st.Address != "" {
			t.Errorf("round %d, stopped: %+v, %v", round, st, err)
		}
	}
}

func TestAServiceStartsAndReadsWithoutABroker(t *testing.T) {
	s := newRunner(spec(t), away{})
	l := run(t, s)
	conn := dial(t, l)
	for name, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"": healthpb.HealthCheckResponse_SERVING, api: healthpb.HealthCheckResponse_SERVING,
		"bus": healthpb.HealthCheckResponse_NOT_SERVING,
	} {
		if got := healthOf(t, conn, name); got != want {
			t.Errorf("health of %q is %v, want %v", name, got, want)
		}
	}
	_, err := directoryv1.NewDirectoryServiceClient(conn).GetPerson(t.Context(), &directoryv1.GetPersonRequest{Id: "ada"})
	if status.Code(err) != codes.Internal { // the service of these tests doesn't look at sql.ErrNoRows
		t.Errorf("a read is answered %v", err)
	}
	l.end(t)
}

func TestAStartThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	inUse := mustListen(t)
	tests := []struct {
		name   string
		change func(*lifecycle.Spec, *lifecycle.Env)
		want   string
	}{
		{"address in use", func(s *lifecycle.Spec, _ *lifecycle.Env) { s.Config.Listen = inUse },
			"--listen " + inUse + " is in use; stop the other process or pass --listen"},
		{"bus", func(_ *lifecycle.Spec, e *lifecycle.Env) {
			e.OpenBus = func(context.Context, string, *slog.Logger) (bus.Bus, error) { return nil, errBroken }
		}, errBroken.Error()},
		{"migrations", func(s *lifecycle.Spec, _ *lifecycle.Env) {
			s.Migrations = fstest.MapFS{"migrations/sqlite/00001_x.sql": {Data: []byte("-- +goose Up\nSELEKT;")}}
		}, "SELEKT"},
		{"build", func(s *lifecycle.Spec, _ *lifecycle.Env) {
			s.Build = func(ctx context.Context, p *lifecycle.Parts) error {
				if _, err := p.Listen(ctx, "--http", "127.0.0.1:0"); err != nil {
					return err
				}
				p.Go("never", func(context.Context) error { panic("it was started") })
				return errBroken
			}
		}, "start: " + errBroken.Error()},
		{"second address in use", func(s *lifecycle.Spec, _ *lifecycle.Env) {
			s.Build = func(ctx context.Context, p *lifecycle.Parts) error {
				_, err := p.Listen(ctx, "--http", inUse)
				return err
			}
		}, "--http " + inUse + " is in use; stop the other process or pass --http"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sp, env := spec(t), lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: openBus(away{})}
			tt.change(&sp, &env)
			s := lifecycle.New(sp, env)
			err := s.Run(t.Context(), func(lifecycle.Info) { t.Error("it says that it is ready") })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			st, statusErr := s.Status(t.Context())
			if statusErr != nil || st.State != lifecycle.Failed || st.Error != err.Error() {
				t.Errorf("status %+v, %v", st, statusErr)
			}
			release, lockErr := database.Lock(sp.Config.DB)
			if lockErr != nil {
				t.Fatalf("the database is not given back: %v", lockErr)
			}
			if err := release(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAMistakeInTheBusLeavesNoDatabase(t *testing.T) {
	sp := spec(t)
	sp.Config.DB = filepath.Join(t.TempDir(), "data", "people.db")
	s := lifecycle.New(sp, lifecycle.Env{
		Log:     slog.New(slog.DiscardHandler),
		OpenBus: func(context.Context, string, *slog.Logger) (bus.Bus, error) { return nil, errBroken },
	})
	if err := s.Run(t.Context(), func(lifecycle.Info) {}); !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(filepath.Dir(sp.Config.DB)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the database: %v, want that there is none", err)
	}
}

// closing is a bus that says when it is closed.
type closing struct {
	away
	closed *bool
}

func (c closing) Close(context.Context) error { *c.closed = true; return nil }

func TestADatabaseThatIsNoneIsToldApart(t *testing.T) {
	sp := spec(t)
	if err := os.WriteFile(sp.Config.DB, []byte(strings.Repeat("this is no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := false
	err := newRunner(sp, closing{closed: &closed}).Run(t.Context(), func(lifecycle.Info) {})
	var broken *lifecycle.DatabaseError
	if !errors.As(err, &broken) || broken.DB != sp.Config.DB || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("got %v, want a *DatabaseError", err)
	}
	if !closed {
		t.Error("the bus was left open")
	}
}

func TestEveryChangeOfStateIsToldInOrder(t *testing.T) {
	sp := spec(t)
	var s *lifecycle.Runner
	var told []string // by one change after the other
	s = lifecycle.New(sp, lifecycle.Env{
		Log: slog.New(slog.DiscardHandler), OpenBus: openBus(away{}),
		OnChange: func(st lifecycle.Status) {
			now, err := s.Status(context.Background()) // which must not wait for the change
			if now.State != st.State || err != nil || (st.Address != "") != (st.State == lifecycle.Serving) {
				t.Errorf("told %+v while the status is %+v, %v", st, now, err)
			}
			told = append(told, st.Service+" "+string(st.State)+st.Error)
		},
	})
	run(t, s).end(t)
	if want := "people starting,people serving,people stopping,people stopped"; strings.Join(told, ",") != want {
		t.Errorf("told %v by the time that Run had returned, want %s", told, want)
	}
}

func TestAFailureIsExplained(t *testing.T) {
	sp, inUse := spec(t), mustListen(t)
	sp.Config.Listen = inUse
	var last lifecycle.Status
	s := lifecycle.New(sp, lifecycle.Env{
		Log: slog.New(slog.DiscardHandler), OpenBus: openBus(away{}), ListenFlag: "--people",
		Explain:  func(err error) error { return fmt.Errorf("%w, it says", err) },
		OnChange: func(st lifecycle.Status) { last = st },
	})
	err := s.Run(t.Context(), func(lifecycle.Info) {})
	want := "--people " + inUse + " is in use; stop the other process or pass --people, it says"
	if err == nil || err.Error() != want || last.State != lifecycle.Failed || last.Error != want {
		t.Errorf("got %v, told %+v; want %s", err, last, want)
	}
}

func TestTwoServicesNeverShareADatabase(t *testing.T) {
	sp := spec(t)
	l := run(t, newRunner(sp, away{}))
	err := newRunner(sp, away{}).Run(t.Context(), func(lifecycle.Info) { t.Error("it says that it is ready") })
	if !errors.Is(err, database.ErrInUse) || !strings.Contains(err.Error(), sp.Config.DB) {
		t.Errorf("got %v, want ErrInUse with the file", err)
	}
	l.end(t)
}

func TestOneRunAtATime(t *testing.T) {
	s := newRunner(spec(t), away{})
	l := run(t, s)
	if err := s.Run(t.Context(), func(lifecycle.Info) {}); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("got %v", err)
	}
	if st, err := s.Status(t.Context()); err != nil || st.State != lifecycle.Serving {
		t.Errorf("the refused Run changed the status: %+v, %v", st, err)
	}
	l.end(t)
}

func TestAPartThatFailsStopsTheService(t *testing.T) {
	sp, fail := spec(t), make(chan struct{})
	sp.Build = func(ctx context.Context, p *lifecycle.Parts) error {
		p.Go("inbox", func(ctx context.Context) error {
			select {
			case <-fail:
				return errBroken
			case <-ctx.Done():
				return nil
			}
		})
		return build(ctx, p)
	}
	s := newRunner(sp, away{})
	l := run(t, s)
	close(fail)
	if err := l.wait(t); !errors.Is(err, errBroken) || err.Error() != "inbox: it is broken" {
		t.Errorf("got %v", err)
	}
	if st, err := s.Status(t.Context()); err != nil || st.State != lifecycle.Failed || st.Error != "inbox: it is broken" {
		t.Errorf("status %+v, %v", st, err)
	}
	fail = make(chan struct{})
	l = run(t, s) // a failed service may be started again
	if st, _ := s.Status(t.Context()); st.State != lifecycle.Serving || st.Error != "" {
		t.Errorf("status %+v", st)
	}
	l.end(t)
}

func TestWhatHangsIsNamedAndKeepsTheDatabaseLocked(t *testing.T) {
	sp, release, gone := spec(t), make(chan struct{}), make(chan struct{})
	sp.StopTimeout = 100 * time.Millisecond
	sp.Build = func(_ context.Context, p *lifecycle.Parts) error {
		p.Go("relay", func(context.Context) error {
			defer close(gone)
			<-release
			return p.DB.Close() // what the Runner has left open
		})
		return nil
	}
	s := newRunner(sp, away{})
	l := run(t, s)
	l.stop()
	err := l.wait(t)
	var late *program.StopError
	if !errors.As(err, &late) || err.Error() != "relay did not stop within 100ms" {
		t.Errorf("got %v", err)
	}
	if err := s.Run(t.Context(), func(lifecycle.Info) {}); !errors.Is(err, database.ErrInUse) {
		t.Errorf("run beside the part that hangs: %v, want ErrInUse", err)
	}
	close(release)
	<-gone
}

func TestAServiceThatIsStoppedWhileItStartsStops(t *testing.T) {
	sp := spec(t)
	ctx, cancel := context.WithCancel(t.Context())
	sp.Build = func(ctx context.Context, p *lifecycle.Parts) error {
		cancel()
		return ctx.Err()
	}
	s := newRunner(sp, away{})
	if err := s.Run(ctx, func(lifecycle.Info) {}); err != nil {
		t.Errorf("got %v", err)
	}
	if st, err := s.Status(t.Context()); err != nil || st.State != lifecycle.Stopped {
		t.Errorf("status %+v, %v", st, err)
	}
}

func TestTheDoorStopsBeforeTheRelay(t *testing.T) {
	var order []string // written by one part after the other, each after the end of the one before
	sp := spec(t)
	part := func(p *lifecycle.Parts, name string) {
		p.Go(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name)
			return ctx.Err()
		})
	}
	sp.Build = func(ctx context.Context, p *lifecycle.Parts) error {
		lis, err := p.Listen(ctx, "--http", "127.0.0.1:0")
		if err != nil {
			return err
		}
		p.SetDoor(lis.Addr().String())
		part(p, "relay")
		part(p, "door")
		return nil
	}
	s := newRunner(sp, away{})
	l := run(t, s)
	if st, err := s.Status(t.Context()); err != nil || st.Door == "" || st.Door != l.info.Door {
		t.Errorf("status %+v, %v; info %+v", st, err, l.info)
	}
	l.end(t)
	if got := strings.Join(order, " "); got != "door relay" {
		t.Errorf("stopped in the order %s", got)
	}
	again, err := net.Listen("tcp", l.info.Door)
	if err != nil {
		t.Fatalf("the door's address is not given back: %v", err)
	}
	_ = again.Close()
}

func TestStatusSaysWhatItCouldNotFindOut(t *testing.T) {
	sp := spec(t)
	sp.Build = func(_ context.Context, p *lifecycle.Parts) error {
		p.OnStatus(func(_ context.Context, s *lifecycle.Status) error { s.Count = 7; return nil })
		p.OnStatus(func(context.Context, *lifecycle.Status) error { return errBroken })
		return nil
	}
	s := newRunner(sp, away{})
	l := run(t, s)
	st, err := s.Status(t.Context())
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "people") || st.Count != 7 || st.State != lifecycle.Serving {
		t.Errorf("got %+v, %v", st, err)
	}
	l.end(t)
}

func TestStatusOfAServiceThatIsStoppedMeanwhileIsNoError(t *testing.T) {
	sp, asked, stopped := spec(t), make(chan struct{}), make(chan struct{})
	sp.Build = func(_ context.Context, p *lifecycle.Parts) error {
		p.OnStatus(func(ctx context.Context, s *lifecycle.Status) error {
			close(asked)
			<-stopped
			return p.DB.Readable(ctx) // which is closed by now
		})
		return nil
	}
	s := newRunner(sp, away{})
	l := run(t, s)
	answer := make(chan error, 1)
	go func() {
		st, err := s.Status(context.Background())
		if st.State != lifecycle.Stopped {
			err = errors.Join(err, errors.New("state "+string(st.State)))
		}
		answer <- err
	}()
	<-asked
	l.end(t)
	close(stopped)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

func TestStatusIsJSON(t *testing.T) {
	b, err := json.Marshal(lifecycle.Status{
		Service: "users", State: lifecycle.Serving, Info: lifecycle.Info{Address: "127.0.0.1:1", Door: "127.0.0.1:2"},
		Count: 3, Keys: 4, Versions: 5, Bus: true, Outbox: &lifecycle.Outbox{Unsent: 6, Unheard: 7}, Without: "groups",
		Positions: []lifecycle.Position{{Topic: "t", Log: "l", Partition: 1, Next: 2}},
		Seq:       9, Missed: 8, Streams: []lifecycle.Stream{{Topic: "t", Source: "/users", Log: "l", First: 1, Seq: 9, Missed: 8}},
		Gap: &lifecycle.Gap{Time: time.Unix(0, 0).UTC(), Source: "/users", Missed: 8, Reason: "why"},
	})
	want := `{"service":"users","state":"serving","address":"127.0.0.1:1","door":"127.0.0.1:2","count":3,"keys":4,` +
		`"versions":5,"lag":0,"bus":true,"without":"groups","keeps_log":false,"positions":[{"topic":"t","log":"l","partition":1,"next":2}],` +
		`"seq":9,"missed":8,"streams":[{"topic":"t","source":"/users","log":"l","first":1,"seq":9,"missed":8}],` +
		`"gap":{"time":"1970-01-01T00:00:00Z","source":"/users","missed":8,"reason":"why"},` +
		`"outbox":{"unsent":6,"unheard":7},"queued":0,"waiting":0,"parked":0,"dead":0,"missing":0}`
	if err != nil || string(b) != want {
		t.Errorf("got  %s (%v)\nwant %s", b, err, want)
	}
}
