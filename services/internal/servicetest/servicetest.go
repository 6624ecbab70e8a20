// Package servicetest runs a service inside a test as programs run it: over loopback, with a database of its own, on
// a bus in memory or any other.
package servicetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// Soon bounds every wait for something that should happen at once, on a machine that is busy with other tests.
const Soon = 20 * time.Second

// Topic is the topic of every service in a test.
const Topic = "user_activity"

// Over opens connections to rec, each its own, as services in processes of their own have.
func Over(rec *bustest.Recorder) lifecycle.OpenBus {
	return func(ctx context.Context, _ string, log *slog.Logger) (bus.Bus, error) {
		return bus.Open(ctx, "recorder://memory", rec.Backend(), bus.WithLogger(log))
	}
}

// Common is for a service on a free port, with a database in a folder of the test's.
func Common(t testing.TB, name string) config.Common {
	t.Helper()
	return config.Common{
		Bus: "recorder://memory", DB: filepath.Join(t.TempDir(), name+".db"), Listen: "127.0.0.1:0", Topic: Topic,
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
	ctx, cancel := context.WithTimeout(r.t.Context(), Soon)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := r.Service.Status(ctx)
		if err == nil && is(s) {
			return s
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("the status never showed %s; it is %+v, %v", what, s, err)
		case <-tick.C:
		}
	}
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
