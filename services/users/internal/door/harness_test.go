package door

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tidings-dev/tidings/bus/outbox"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// openStore makes a store in a database of its own.
func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, _ := openDatabase(t)
	return st
}

func openDatabase(t testing.TB) (*store.Store, *database.DB) {
	t.Helper()
	db := servicetest.Database(t, "users", store.Migrations)
	ob, err := outbox.New(t.Context(), db.DB)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.New(t.Context(), store.Config{DB: db, Outbox: ob, Topic: "user_activity"})
	if err != nil {
		t.Fatal(err)
	}
	return st, db
}

// client talks to a door over loopback.
type client struct {
	t    testing.TB
	addr string
	http *http.Client
}

// serve puts a door in front of users, over loopback, until the test ends. set may change it before.
func serve(t testing.TB, users Users, set func(*Door)) *client {
	t.Helper()
	l := listen(t)
	d := New(users, discard())
	if set != nil {
		set(d)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, l) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &client{t: t, addr: l.Addr().String(), http: &http.Client{Transport: transport}}
}

func open(t testing.TB) *client { return serve(t, openStore(t), nil) }

// answer is a response, read whole.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   string
	closed bool // the connection is to be closed
}

// do sends a request with a JSON body, "" for none, and headers as name and value in turn.
func (c *client) do(method, path, body string, header ...string) answer {
	c.t.Helper()
	req, err := http.NewRequest(method, "http://"+c.addr+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if req.Header[header[i]] = []string{header[i+1]}; header[i+1] == "" {
			delete(req.Header, header[i])
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	return read(c.t, resp)
}

func (c *client) create(email, name string) answer {
	c.t.Helper()
	body, err := json.Marshal(map[string]string{"email": email, "name": name})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do("POST", "/v1/users", string(body))
}

// created makes a user, and returns its path.
func (c *client) created(email, name string) string {
	c.t.Helper()
	return c.create(email, name).wants(http.StatusCreated).header.Get("Location")
}

// read reads a response that came some other way.
func read(t testing.TB, resp *http.Response) answer {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{t, resp.StatusCode, resp.Header, string(b), resp.Close}
}

// wants checks the status, and where that is a refusal, that it is a proper problem.
func (a answer) wants(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("answered %d %s, want %d", a.status, a.body, status)
	}
	if status >= 400 {
		if p := a.problem(); p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" || p.Type != "about:blank" {
			a.t.Errorf("%d is answered by %s, which is not the whole problem", status, a.body)
		}
	}
	return a
}

func (a answer) wantsETag(tag string) answer {
	a.t.Helper()
	if got := a.header.Get("ETag"); got != tag {
		a.t.Errorf("ETag is %s, want %s", got, tag)
	}
	return a
}

func (a answer) problem() problem {
	a.t.Helper()
	var p problem
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("%d comes as %q: %s", a.status, got, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		a.t.Errorf("%d: %v in %s", a.status, err, a.body)
	}
	return p
}

// faults returns the fields at fault.
func (a answer) faults() map[string]string {
	a.t.Helper()
	faults := make(map[string]string)
	for _, f := range a.problem().Errors {
		faults[f.Field] = f.Detail
	}
	return faults
}

func (a answer) user() *usersv1.User {
	a.t.Helper()
	u := &usersv1.User{}
	if err := protojson.Unmarshal([]byte(a.body), u); err != nil {
		a.t.Fatalf("%s is no user: %v", a.body, err)
	}
	return u
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// waitUntil waits for a condition, for 10 s at most.
func waitUntil(t testing.TB, what string, is func() bool) {
	t.Helper()
	servicetest.Await(t, servicetest.Soon, time.Millisecond, what, func() (bool, any) { return is(), "not yet" })
}

// lockedBuffer is a buffer that a log may be written to from many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func jsonString(s string) string {
	b, _ := json.Marshal(s) // strings can always be written
	return string(b)
}
