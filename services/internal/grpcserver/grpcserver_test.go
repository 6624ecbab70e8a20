package grpcserver_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/grpcserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const api = "directory.v1.DirectoryService"

// directory answers GetPerson with whatever the test says.
type directory struct {
	directoryv1.UnimplementedDirectoryServiceServer
	get func(ctx context.Context, id string) error
}

func (d *directory) GetPerson(ctx context.Context, req *directoryv1.GetPersonRequest) (*directoryv1.GetPersonResponse, error) {
	if err := d.get(ctx, req.GetId()); err != nil {
		return nil, err
	}
	return &directoryv1.GetPersonResponse{Person: &directoryv1.Person{Id: req.GetId()}}, nil
}

// logged collects what is logged.
type logged struct {
	mu      sync.Mutex
	records []slog.Record
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logged) WithGroup(string) slog.Handler            { return l }
func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return nil
}

// above returns what was logged at level or above, each record's attributes by name.
func (l *logged) above(level slog.Level) []map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]string
	for _, r := range l.records {
		if r.Level < level {
			continue
		}
		attrs := map[string]string{"msg": r.Message}
		r.Attrs(func(a slog.Attr) bool {
			attrs[a.Key] = a.Value.String()
			return true
		})
		all = append(all, attrs)
	}
	return all
}

// served is a server at work and a client of it.
type served struct {
	*grpcserver.Server
	conn   *grpc.ClientConn
	client directoryv1.DirectoryServiceClient
	health healthpb.HealthClient
	log    *logged
	stop   context.CancelFunc
	ended  chan error
}

// errBusy is what a database says that is locked.
var errBusy = errors.New("database is locked: /srv/secret.db")

// serve runs a server until the test ends; cfg may leave out what every test has.
func serve(t *testing.T, cfg grpcserver.Config, get func(ctx context.Context, id string) error) *served {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{log: &logged{}, ended: make(chan error, 1)}
	cfg.API, cfg.Log = api, slog.New(s.log)
	if cfg.Readable == nil {
		cfg.Readable = func(context.Context) error { return nil }
	}
	cfg.Unavailable = func(err error) bool { return errors.Is(err, errBusy) }
	s.Server = grpcserver.New(lis, cfg)
	directoryv1.RegisterDirectoryServiceServer(s.Server, &directory{get: get})

	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() { s.ended <- s.Run(ctx) }()
	s.conn, err = grpc.NewClient(s.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	s.client, s.health = directoryv1.NewDirectoryServiceClient(s.conn), healthpb.NewHealthClient(s.conn)
	t.Cleanup(func() {
		s.stop()
		_ = s.conn.Close()
		s.Server.Close()
	})
	return s
}

// await waits for the end of Run and returns its error.
func (s *served) await(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the server does not stop")
		return nil
	}
}

func (s *served) get(ctx context.Context, id string) error {
	_, err := s.client.GetPerson(ctx, &directoryv1.GetPersonRequest{Id: id})
	return err
}

// statusOf asks health until it answers want, or fails the test.
func (s *served) statusOf(t *testing.T, service string, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := s.health.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	for err == nil {
		var resp *healthpb.HealthCheckResponse
		if resp, err = stream.Recv(); err == nil && resp.GetStatus() == want {
			return
		}
	}
	t.Errorf("health of %q does not become %v: %v", service, want, err)
}

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
)

func TestHealthOfReadsAndOfTheBusAreApart(t *testing.T) {
	var broken atomic.Bool
	s := serve(t, grpcserver.Config{Readable: func(context.Context) error {
		if broken.Load() {
			return errBusy
		}
		return nil
	}}, nil)
	s.statusOf(t, "", serving)
	s.statusOf(t, api, serving)
	s.statusOf(t, "bus", notServing)

	s.SetBus(true)
	s.statusOf(t, "bus", serving)
	if !s.Bus() {
		t.Error("Bus is false after SetBus(true)")
	}
	broken.Store(true)
	s.statusOf(t, "", notServing)
	s.statusOf(t, api, notServing)
	s.statusOf(t, "bus", serving)

	s.SetBus(false)
	broken.Store(false)
	s.statusOf(t, "", serving)
	s.statusOf(t, api, serving)
	s.statusOf(t, "bus", notServing)

	var messages []string
	for _, line := range s.log.above(slog.LevelInfo) {
		messages = append(messages, line["msg"])
	}
	if want := []string{"reads can't be answered", "reads can be answered again"}; !slices.Equal(messages, want) {
		t.Errorf("logged %q, want each change once: %q", messages, want)
	}
	_, err := s.health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "directory"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("health of a service that is not here: %v", err)
	}
}

func TestReflectionListsTheService(t *testing.T) {
	s := serve(t, grpcserver.Config{}, nil)
	stream, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, service := range resp.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	if !slices.Contains(names, api) || !slices.Contains(names, "grpc.health.v1.Health") {
		t.Errorf("services %v", names)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

func TestStopLetsCallsInHandFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, grpcserver.Config{}, func(context.Context, string) error {
		close(entered)
		<-release
		return nil
	})
	answered := make(chan error, 1)
	go func() { answered <- s.get(context.Background(), "1") }()
	<-entered
	s.stop()
	// A new connection is refused long before the call in hand is done.
	deadline := time.Now().Add(5 * time.Second)
	for {
		c, err := net.Dial("tcp", s.Address())
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server still listens")
		}
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the call in hand: %v", err)
	}
	if err := s.await(t); err != nil {
		t.Error(err)
	}
}

func TestStopEndsWhatTakesTooLong(t *testing.T) {
	entered := make(chan struct{})
	s := serve(t, grpcserver.Config{Grace: 50 * time.Millisecond}, func(ctx context.Context, _ string) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	})
	answered := make(chan error, 1)
	go func() { answered <- s.get(context.Background(), "1") }()
	<-entered
	s.stop()
	if err := <-answered; status.Code(err) != codes.Unavailable {
		t.Errorf("the call that was cut short: %v", err)
	}
	if err := s.await(t); err != nil {
		t.Error(err)
	}
}

func TestAServerThatWasNeverRunGivesItsAddressBack(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpcserver.New(lis, grpcserver.Config{API: api, Log: slog.New(slog.DiscardHandler)})
	s.Close()
	again, err := net.Listen("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestAServerThatIsToldToStopBeforeItStartsStops(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpcserver.New(lis, grpcserver.Config{
		API: api, Log: slog.New(slog.DiscardHandler), Readable: func(context.Context) error { return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestAListenerThatBreaksIsAnError(t *testing.T) {
	s := serve(t, grpcserver.Config{}, nil)
	s.statusOf(t, "", serving)
	s.stop()
	if err := s.await(t); err != nil {
		t.Error(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = lis.Close()
	broken := grpcserver.New(lis, grpcserver.Config{
		API: api, Log: slog.New(slog.DiscardHandler), Readable: func(context.Context) error { return nil },
	})
	if err := broken.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want the listener's error", err)
	}
}

// drain reads a stream to its end.
func drain(recv func() error) error {
	for {
		if err := recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
