package door

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

const good = `{"email":"ada@example.org","name":"Ada"}`

func TestABodyMayHave64KiBAndNoMore(t *testing.T) {
	c := open(t)
	pad := func(n int) string { return good + strings.Repeat(" ", n-len(good)) }
	c.do("POST", "/v1/users", pad(maxBody)).wants(http.StatusCreated)
	a := c.do("POST", "/v1/users", pad(maxBody+1)).wants(http.StatusRequestEntityTooLarge)
	if !a.closed {
		t.Error("the connection stays open with the rest of the body in it")
	}
	c.do("POST", "/v1/users", pad(10<<20)).wants(http.StatusRequestEntityTooLarge)

	for n, want := range map[int]int{maxBody: http.StatusConflict, maxBody + 1: http.StatusRequestEntityTooLarge} {
		req, err := http.NewRequest("POST", "http://"+c.addr+"/v1/users", io.MultiReader(strings.NewReader(pad(n)))) // chunked
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%d bytes in chunks answer %d, want %d", n, resp.StatusCode, want)
		}
	}
}

func TestAHeaderMayHave16KiB(t *testing.T) {
	c := open(t)
	c.do("POST", "/v1/users", good, "X-Padding", strings.Repeat("x", 15<<10)).wants(http.StatusCreated)
	c.do("POST", "/v1/users", good, "X-Padding", strings.Repeat("x", 17<<10)).wants(http.StatusRequestHeaderFieldsTooLarge)
	c.do("POST", "/v1/users?q="+strings.Repeat("x", 17<<10), good).wants(http.StatusRequestHeaderFieldsTooLarge)
	if a := c.do("POST", "/v1/users", good, "X-Padding", strings.Repeat("x", 300<<10)); a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("300 KiB of header answer %d", a.status)
	}
}

// raw sends bytes as they are, and reads an answer.
func (c *client) raw(request string) (*http.Response, error) {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

func hasty(d *Door) { d.timeouts.header, d.timeouts.read = 100*time.Millisecond, 200*time.Millisecond }

func TestASlowBodyIsATimeout(t *testing.T) {
	c := serve(t, openStore(t), hasty)
	head := "POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for _, request := range []string{head + "Content-Length: 40\r\n\r\n" + good[:20], head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"ema"} {
		resp, err := c.raw(request)
		if err != nil {
			t.Fatal(err)
		}
		if !read(t, resp).wants(http.StatusRequestTimeout).closed {
			t.Error("the connection stays open")
		}
	}
	c.do("POST", "/v1/users", good).wants(http.StatusCreated) // nothing was made of it
}

func TestASlowHeaderEndsTheConnection(t *testing.T) {
	c := serve(t, openStore(t), hasty)
	for _, request := range []string{"", "POST /v1/users HTTP/1.1\r\nHost: x\r\nX-Slo"} {
		if resp, err := c.raw(request); err == nil && resp.StatusCode < 400 {
			t.Errorf("half a header is answered %s", resp.Status)
		} else if timeout := (net.Error)(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("the connection was left open")
		}
	}
}

func TestABodyInBrokenChunksIsRefused(t *testing.T) {
	c := open(t)
	for _, rest := range []string{"zz\r\n", "5\r\n{\"email\":\"", "-1\r\n\r\n"} {
		resp, err := c.raw("POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)
		if err != nil {
			t.Fatal(err)
		}
		read(t, resp).wants(http.StatusBadRequest)
	}
}

func TestWhatIsNoHTTPIsRefused(t *testing.T) {
	c := open(t)
	for _, request := range []string{"hello\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST /v1/users HTTP/1.1\r\n\r\n", "POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\n"} {
		resp, err := c.raw(request)
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		if resp.StatusCode < 400 || resp.StatusCode == http.StatusInternalServerError {
			t.Errorf("%q is answered %s", request, resp.Status)
		}
	}
	c.do("POST", "/v1/users", good).wants(http.StatusCreated)
}

// altered is a store whose Create does something else first.
type altered struct {
	Users
	before func(ctx context.Context) error
}

func (a altered) Create(ctx context.Context, p store.Profile) (store.User, error) {
	if err := a.before(ctx); err != nil {
		return store.User{}, err
	}
	return a.Users.Create(ctx, p)
}

func TestAFaultOfOursIsToldToTheLogOnly(t *testing.T) {
	for name, before := range map[string]func(context.Context) error{
		"an error": func(context.Context) error { return errors.New("no such table: secrets") },
		"a panic":  func(context.Context) error { panic("no such table: secrets") },
	} {
		var log lockedBuffer
		c := serve(t, altered{openStore(t), before}, func(d *Door) { d.log = slog.New(slog.NewTextHandler(&log, nil)) })
		a := c.do("POST", "/v1/users", good).wants(http.StatusInternalServerError)
		if strings.Contains(a.body, "secrets") {
			t.Errorf("%s is told to the client: %s", name, a.body)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "secrets") {
			t.Errorf("%s is logged %d times: %s", name, n, log.String())
		}
		c.do("GET", "/v1/users", "").wants(http.StatusMethodNotAllowed) // the door is still there
	}
}

func TestADatabaseThatCannotCommitIsUnavailable(t *testing.T) {
	servicetest.SQLiteOnly(t, "nothing locks the whole of a Postgres")
	users, db := openDatabase(t)
	c := serve(t, users, nil)
	path := c.created("grace@example.org", "Grace")
	locker := lockedBy(t, db)
	for name, a := range map[string]answer{
		"POST":   c.do("POST", "/v1/users", good),
		"PATCH":  c.do("PATCH", path, `{"name":"B"}`),
		"DELETE": c.do("DELETE", path, ""),
	} {
		if got := a.wants(http.StatusServiceUnavailable).header.Get("Retry-After"); got != "1" {
			t.Errorf("%s: Retry-After is %q", name, got)
		}
	}
	if _, err := locker.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	c.do("POST", "/v1/users", good).wants(http.StatusCreated)
	c.do("PATCH", path, `{"name":"B"}`).wants(http.StatusOK).wantsETag(`"2"`)
}

// lockedBy takes the write lock of a database, for which others wait 20 ms from now on.
func lockedBy(t *testing.T, db *database.DB) *sql.Conn {
	t.Helper()
	db.SetMaxOpenConns(3)
	var locker *sql.Conn
	for i := range 3 {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if conn != locker {
				conn.Close()
			}
		}()
		if _, err := conn.ExecContext(t.Context(), `PRAGMA busy_timeout = 20`); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			locker = conn
			t.Cleanup(func() { conn.Close() })
		}
	}
	if _, err := locker.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	return locker
}

func TestWhenTheDoorClosesRequestsInHandAreAnswered(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	users := altered{openStore(t), func(context.Context) error {
		close(arrived)
		<-finish
		return nil
	}}
	d := New(users, discard())
	ctx, cancel := context.WithCancel(t.Context())
	l, served := listen(t), make(chan error, 1)
	go func() { served <- d.Serve(ctx, l) }()
	answered := make(chan answer, 1)
	c := &client{t, l.Addr().String(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	go func() { answered <- c.do("POST", "/v1/users", good) }()
	<-arrived
	cancel()
	waitUntil(t, "the door is closed", func() bool {
		conn, err := net.Dial("tcp", c.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(finish)
	(<-answered).wants(http.StatusCreated)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestWhenTheDoorClosesARequestThatHangsIsCutOffAndWaitedFor(t *testing.T) {
	arrived := make(chan struct{})
	var ended sync.WaitGroup
	ended.Add(1)
	users := altered{openStore(t), func(ctx context.Context) error {
		defer ended.Done()
		close(arrived)
		<-ctx.Done()
		return ctx.Err()
	}}
	d := New(users, discard())
	d.timeouts.stop = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	l, served := listen(t), make(chan error, 1)
	go func() { served <- d.Serve(ctx, l) }()
	gone := make(chan error, 1)
	go func() {
		_, err := (&client{t: t, addr: l.Addr().String()}).raw(fmt.Sprintf("POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(good), good))
		gone <- err
	}()
	<-arrived
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	ended.Wait()
	if err := <-gone; err == nil {
		t.Error("a request that was cut off was answered")
	}
}

func TestServeSaysWhyItCannotServe(t *testing.T) {
	l := listen(t)
	l.Close()
	if err := New(openStore(t), discard()).Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("a closed listener gives %v", err)
	}
}
