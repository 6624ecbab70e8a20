package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// platform is one service that is started and stopped in name only.
type platform struct{ done chan string }

func (p *platform) Report(context.Context) control.Report {
	return reported(func(_ *control.Report, _, d *lifecycle.Status) { d.Keys = 2 })
}

func (p *platform) change(what, name string) error {
	if name != "directory" {
		return fmt.Errorf("%w: %q; there is [directory]", control.ErrUnknownService, name)
	}
	p.done <- what + " " + name
	return nil
}

func (p *platform) Start(_ context.Context, name string) error {
	if name == "broken" {
		return fmt.Errorf("%s: it is broken", name)
	}
	return p.change("start", name)
}

func (p *platform) Stop(_ context.Context, name string) error { return p.change("stop", name) }

// door serves a platform on loopback until the test ends, and returns where.
func door(t *testing.T) (*platform, control.Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &platform{done: make(chan string, 9)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(ctx, l, p, slog.New(slog.DiscardHandler)) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("the door does not close")
		}
	})
	return p, control.Client{Address: l.Addr().String(), HTTP: client}
}

func TestStatusStopAndStart(t *testing.T) {
	p, c := door(t)
	r, err := c.Report(t.Context())
	if err != nil || len(r.Services) != 2 || len(r.Disagreements()) != 1 {
		t.Errorf("report %+v, %v", r, err)
	}
	if err := c.Stop(t.Context(), "directory"); err != nil || <-p.done != "stop directory" {
		t.Errorf("stop: %v", err)
	}
	if err := c.Start(t.Context(), "directory"); err != nil || <-p.done != "start directory" {
		t.Errorf("start: %v", err)
	}
	for name, want := range map[string]string{
		"nobody": `no such service: "nobody"; there is [directory]`, "a/../b": `no such service: "a/../b"`, "broken": "broken: it is broken",
	} {
		if err := c.Start(t.Context(), name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("start %s: %v, want %s", name, err, want)
		}
	}
}

func TestWhatIsNoPlatformIsToldApart(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"another server": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello</html>") },
		"not found":      http.NotFound,
		"another door": func(w http.ResponseWriter, _ *http.Request) { // the write door's answer
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"title":"Not Found","status":404,"detail":"there is no \"/v1/status\" here"}`)
		},
	} {
		s := httptest.NewServer(h)
		c := control.Client{Address: s.Listener.Addr().String(), HTTP: s.Client()}
		_, err := c.Report(t.Context())
		if name != "another server" { // which says yes to everything
			err = errors.Join(err, c.Stop(t.Context(), "audit"))
		}
		s.Close()
		want := "--control " + c.Address + ": what answers there is no platform of Tidings"
		if err == nil || strings.Count(err.Error(), want) != strings.Count(err.Error(), "\n")+1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (control.Client{Address: "127.0.0.1:1"}).Report(t.Context()); err == nil ||
		!strings.HasPrefix(err.Error(), "no platform answers at 127.0.0.1:1; start it with") {
		t.Errorf("nobody there: %v", err)
	}
}

// status is what the door answers to a request that head has changed.
func status(t *testing.T, c control.Client, method, path string, head func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	head(req)
	resp, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestAPageOfElsewhereIsRefused(t *testing.T) {
	p, c := door(t)
	for name, head := range map[string]func(*http.Request){
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
		"another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		if got := status(t, c, http.MethodPost, "/v1/services/directory/stop", head); got != http.StatusForbidden {
			t.Errorf("%s: %d", name, got)
		}
	}
	if len(p.done) > 0 {
		t.Error("a service was stopped")
	}
}

// A page whose name was made to mean 127.0.0.1 has the same origin as the door, and gives itself away by Host only.
func TestOnlyLoopbacksOwnNamesAreAnswered(t *testing.T) {
	_, c := door(t)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8479": 200, "127.0.0.1:8479": 200, "127.9.9.9": 200, "[::1]:8479": 200, "[::1]": 200,
		"evil.example": 403, "evil.example:8479": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example:80": 403,
		"10.0.0.1": 403, "[2001:db8::1]:8479": 403, "0.0.0.0": 403,
	} {
		head := func(r *http.Request) { r.Host = host }
		if got := status(t, c, http.MethodGet, "/v1/status", head); got != want {
			t.Errorf("Host %s: %d, want %d", host, got, want)
		}
	}
}
