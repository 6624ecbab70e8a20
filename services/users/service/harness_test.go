package service_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/users/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "user_activity"

// over opens connections to rec.
func over(rec *bustest.Recorder) lifecycle.OpenBus {
	return func(ctx context.Context, _ string, log *slog.Logger) (bus.Bus, error) {
		return bus.Open(ctx, "recorder://memory", rec.Backend(), bus.WithLogger(log))
	}
}

// running is the users service over loopback, and clients of it.
type running struct {
	t    testing.TB
	svc  *lifecycle.Runner
	info lifecycle.Info
	api  usersv1.UserServiceClient
	hp   healthpb.HealthClient
	http *http.Client
	stop func()
}

// newConfig is for a service on ports that are free, with a database of its own.
func newConfig(t testing.TB) service.Config {
	return service.Config{
		Common: config.Common{Bus: "recorder://memory", DB: filepath.Join(t.TempDir(), "users.db"), Listen: "127.0.0.1:0", Topic: topic},
		Door:   "127.0.0.1:0",
	}
}

// start runs the service until stop is called or the test ends.
func start(t testing.TB, cfg service.Config, open lifecycle.OpenBus) *running {
	t.Helper()
	r := &running{t: t, svc: service.New(cfg, lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: open})}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan lifecycle.Info, 1), make(chan error, 1)
	go func() { ended <- r.svc.Run(ctx, func(info lifecycle.Info) { ready <- info }) }()
	select {
	case r.info = <-ready:
	case err := <-ended:
		cancel()
		t.Fatalf("it did not start: %v", err)
	}
	conn, err := grpc.NewClient(r.info.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	r.hp = healthpb.NewHealthClient(conn)
	r.api, r.http = usersv1.NewUserServiceClient(conn), &http.Client{Transport: transport}
	r.stop = sync.OnceFunc(func() {
		_ = conn.Close()
		transport.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// answer is what the door answered.
type answer struct {
	status         int
	etag, location string
	body           string
}

func (r *running) do(method, path, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.info.Door+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("ETag"), resp.Header.Get("Location"), b.String()}
}

// create makes a user, and returns it.
func (r *running) create(email, name string) *usersv1.User {
	r.t.Helper()
	a := r.do("POST", "/v1/users", fmt.Sprintf(`{"email":%q,"name":%q}`, email, name))
	u := &usersv1.User{}
	if err := protojson.Unmarshal([]byte(a.body), u); err != nil || a.status != http.StatusCreated {
		r.t.Fatalf("POST answers %+v: %v", a, err)
	}
	return u
}

// get reads a user over gRPC.
func (r *running) get(id string, minVersion uint64) (*usersv1.User, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	resp, err := r.api.GetUser(ctx, &usersv1.GetUserRequest{Id: id, MinVersion: minVersion})
	return resp.GetUser(), err
}

// published waits until n events are in the topic.
func published(t testing.TB, rec *bustest.Recorder, n int) []bus.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events, err := rec.WaitPublished(ctx, topic, n)
	if err != nil {
		t.Fatalf("%d of %d events were published: %v", len(events), n, err)
	}
	return events
}

// status waits until the service's status is as asked for.
func (r *running) status(what string, is func(lifecycle.Status) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := r.svc.Status(ctx)
		if err == nil && is(s) {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("status never showed %s; it is %+v, %v", what, s, err)
		case <-tick.C:
		}
	}
}

// health waits until each of the names is serving, or not, as asked for.
func (r *running) health(want map[string]bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := make(map[string]bool)
		for name := range want {
			resp, err := r.hp.Check(ctx, &healthpb.HealthCheckRequest{Service: name})
			if err != nil {
				r.t.Fatal(err)
			}
			got[name] = resp.GetStatus() == healthpb.HealthCheckResponse_SERVING
		}
		if maps.Equal(got, want) {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("health never became %v; it is %v", want, got)
		case <-tick.C:
		}
	}
}

// together calls fn from n goroutines, and waits for all.
func together(n int, fn func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

func path(u *usersv1.User) string { return "/v1/users/" + u.GetId() }

// lines is where a program logs to.
type lines struct{ wrote chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.wrote <- string(p)
	return len(p), nil
}

var doorOf = regexp.MustCompile(`"door":"(127\.0\.0\.1:[1-9]\d*)"`)

// door waits for the line that says where the door is.
func (l *lines) door(t *testing.T) string {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case line := <-l.wrote:
			if m := doorOf.FindStringSubmatch(line); m != nil {
				return m[1]
			}
		case <-deadline:
			t.Fatal("the program never said where its door is")
		}
	}
}
