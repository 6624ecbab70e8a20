package service_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/service"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// running is the users service over loopback, and clients of it.
type running struct {
	*servicetest.Running
	t    testing.TB
	api  usersv1.UserServiceClient
	http *http.Client
}

// newConfig is for a service on ports that are free, with a database of its own.
func newConfig(t testing.TB) service.Config {
	return service.Config{Common: servicetest.Common(t, "users"), Door: "127.0.0.1:0"}
}

// start runs the service until Stop is called or the test ends.
func start(t testing.TB, cfg service.Config, open lifecycle.OpenBus) *running {
	t.Helper()
	s := servicetest.Start(t, open, func(env lifecycle.Env) *lifecycle.Runner { return service.New(cfg, env) })
	r := &running{
		Running: s, t: t, api: usersv1.NewUserServiceClient(s.Conn),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	t.Cleanup(r.Stop)
	return r
}

// Stop stops the service. The client goes first: the door would wait for connections that it has not used yet.
func (r *running) Stop() {
	r.http.CloseIdleConnections()
	r.Running.Stop()
}

// answer is what the door answered.
type answer struct {
	status         int
	etag, location string
	body           string
}

func (r *running) do(method, path, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.Info.Door+path, strings.NewReader(body))
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
	ctx, cancel := context.WithTimeout(r.t.Context(), servicetest.Soon)
	defer cancel()
	resp, err := r.api.GetUser(ctx, &usersv1.GetUserRequest{Id: id, MinVersion: minVersion})
	return resp.GetUser(), err
}

// published waits until n events are in the topic.
func published(t testing.TB, rec *bustest.Recorder, n int) []bus.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
	defer cancel()
	events, err := rec.WaitPublished(ctx, servicetest.Topic, n)
	if err != nil {
		t.Fatalf("%d of %d events were published: %v", len(events), n, err)
	}
	return events
}

// health waits until each of the names is serving, or not, as asked for.
func (r *running) health(want map[string]bool) {
	r.t.Helper()
	servicetest.Await(r.t, servicetest.Soon, 20*time.Millisecond, fmt.Sprintf("health is %v", want), func() (bool, any) {
		got := make(map[string]bool)
		for name := range want {
			got[name] = r.Serving(name)
		}
		return maps.Equal(got, want), got
	})
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

// door waits for the line that says where the door is. The line before that tells the settings is to have setting in it.
func (l *lines) door(t *testing.T, setting string) string {
	t.Helper()
	for deadline := time.After(servicetest.Soon); ; {
		select {
		case line := <-l.wrote:
			if strings.Contains(line, `"msg":"starting"`) && !strings.Contains(line, setting) {
				t.Errorf("no %s in %s", setting, line)
			}
			if m := doorOf.FindStringSubmatch(line); m != nil {
				return m[1]
			}
		case <-deadline:
			t.Fatal("the program never said where its door is")
		}
	}
}
