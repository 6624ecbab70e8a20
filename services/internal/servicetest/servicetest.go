// Package servicetest runs a service inside a test as programs run it: over loopback, with a database of its own, on
// a bus in memory or any other. It also holds what the tests of services have in common: users to tell of and their
// events, a Kafka broker and a Redis server, a migrated database, and waiting for a condition.
package servicetest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// Soon bounds every wait for something that should happen at once, on a machine that is busy with other tests.
const Soon = 60 * time.Second

// Topic is the topic of every service in a test, but on a broker that others use too: see [OnKafka].
const Topic = "user_activity"

// Over opens connections to rec, each its own, as services in processes of their own have.
func Over(rec *bustest.Recorder) lifecycle.OpenBus {
	return func(ctx context.Context, _ string, log *slog.Logger) (bus.Bus, error) {
		return bus.Open(ctx, "recorder://memory", rec.Backend(), bus.WithLogger(log))
	}
}

// Common is for a service on a free port, with a database of the test's own.
func Common(t testing.TB, name string) config.Common {
	t.Helper()
	return config.Common{
		Bus: "recorder://memory", DB: DSN(t, name), Listen: "127.0.0.1:0", Topic: Topic,
	}
}

// Running is a service that runs.
type Running struct {
	Service lifecycle.Service
	Info    lifecycle.Info
	Conn    *grpc.ClientConn
	// Stop stops the service, waits for its end, and fails the test if that went wrong. The test's end does so too.
	Stop func()

	t testing.TB
}

// Start runs the service that build makes, and returns once it serves.
func Start(t testing.TB, open lifecycle.OpenBus, build func(lifecycle.Env) *lifecycle.Runner) *Running {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r := &Running{t: t, Service: build(lifecycle.Env{Log: log, OpenBus: open})}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan lifecycle.Info, 1), make(chan error, 1)
	go func() { ended <- r.Service.Run(ctx, func(info lifecycle.Info) { ready <- info }) }()
	select {
	case r.Info = <-ready:
	case err := <-ended:
		cancel()
		t.Fatalf("%s did not start: %v", r.Service.Name(), err)
	}
	var err error
	if r.Conn, err = grpc.NewClient(r.Info.Address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Error(err)
	}
	r.Stop = sync.OnceFunc(func() {
		_ = r.Conn.Close() // to a service that is about to go
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s ended with %v", r.Service.Name(), err)
		}
	})
	t.Cleanup(r.Stop)
	return r
}

// Until waits until the status is as asked for, and returns it; what names it for the failure.
func (r *Running) Until(what string, is func(lifecycle.Status) bool) lifecycle.Status {
	r.t.Helper()
	return r.Within(Soon, 2*time.Millisecond, what, is)
}

// Within is Until for what takes longer: it waits for limit, and asks once in every, for asking costs the service
// something too.
func (r *Running) Within(limit, every time.Duration, what string, is func(lifecycle.Status) bool) (s lifecycle.Status) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	Await(r.t, limit, every, "the status shows "+what, func() (bool, any) {
		var err error
		if s, err = r.Service.Status(ctx); err != nil {
			return false, err
		}
		return is(s), s
	})
	return s
}

// CaughtUp waits until everything in the log has been read, and every reaction to it performed.
func (r *Running) CaughtUp() lifecycle.Status {
	r.t.Helper()
	return r.Until("lag 0 and nothing queued", func(s lifecycle.Status) bool { return s.Bus && s.Lag == 0 && s.Queued == 0 })
}

// Context bounds a call.
func (r *Running) Context() context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), Soon)
	r.t.Cleanup(cancel)
	return ctx
}

// Serving asks for the health of a name: "" or a gRPC service, or "bus". Any answer but SERVING and NOT_SERVING fails
// the test.
func (r *Running) Serving(name string) bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), Soon)
	defer cancel()
	resp, err := healthpb.NewHealthClient(r.Conn).Check(ctx, &healthpb.HealthCheckRequest{Service: name})
	if err != nil {
		r.t.Fatalf("health %q: %v", name, err)
	}
	serving := resp.GetStatus() == healthpb.HealthCheckResponse_SERVING
	if !serving && resp.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		r.t.Errorf("health %q is %v", name, resp.GetStatus())
	}
	return serving
}

// Await calls is until it reports true, once in every and for limit at most; then the test fails, and says what was
// waited for and what is returned last.
func Await(t testing.TB, limit, every time.Duration, what string, is func() (ok bool, now any)) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, now := is()
		if ok {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("it took too long until %s; now: %+v", what, now)
		case <-t.Context().Done():
			t.Fatalf("the test ended before %s; now: %+v", what, now)
		case <-tick.C:
		}
	}
}
