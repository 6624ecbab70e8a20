package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/importer"
)

// tidings runs a command in this process and returns its exit code and what it printed.
func tidings(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	in := program.IO{Name: "tidings", Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
	code = program.Main(in, run)
	return code, out.String(), errs.String()
}

// fakeDoor answers each request with what status says.
func fakeDoor(t *testing.T, status func() int) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status()) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

func isCreated() int { return http.StatusCreated }

func TestTheVersionIsNotASetting(t *testing.T) {
	t.Setenv("TIDINGS_VERSION", "1")
	code, out, errs := tidings("status", "--control=127.0.0.1:1")
	if code != 1 || out != "" || !strings.Contains(errs, "127.0.0.1:1") {
		t.Errorf("exit %d, %q, %q; want 1: no platform is there", code, out, errs)
	}
	if code, out, _ = tidings("--version"); code != 0 || !strings.HasPrefix(out, "tidings ") {
		t.Errorf("--version: exit %d, %q", code, out)
	}
}

func TestTheDoorIsAnAddressOrAURL(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8480":        "http://127.0.0.1:8480",
		"localhost:80":          "http://localhost:80",
		"[::1]:8480":            "http://[::1]:8480",
		"http://127.0.0.1:8480": "http://127.0.0.1:8480",
		"https://door.example":  "https://door.example",
	} {
		if got, err := doorURL(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "localhost", ":8480", "127.0.0.1:", "ftp://h:1", "http://", "http://:8480", "http://h:1?x=1", "http://u@h:1", "http://h:x", "h:x y"} {
		if code, _, errs := tidings("import", "--sample=1", "--door="+in); code != 2 || !strings.Contains(errs, "--door") {
			t.Errorf("%q: exit %d, %q; want 2 and a word on --door", in, code, errs)
		}
	}
}

// `up` and `import` take the same variable.
func TestTheDoorComesFromTheEnvironmentOfUp(t *testing.T) {
	t.Setenv("TIDINGS_DOOR", strings.TrimPrefix(fakeDoor(t, isCreated), "http://"))
	if code, out, errs := tidings("import", "--sample=3", "--seed=1"); code != 0 || out != "3 created, 0 already there, 0 bad\n" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

func TestOnlyALostDoorIsAReasonToRunAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, []byte("mail,name\na@x.org,A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := tidings("import", file, "--door="+fakeDoor(t, isCreated))
	if code != 1 || !strings.Contains(errs, "must name the columns") || strings.Contains(errs, "run it again") {
		t.Errorf("a wrong header: exit %d, %q", code, errs)
	}
	code, _, errs = tidings("import", "--sample=1", "--door=127.0.0.1:1", "--retry=200ms")
	if code != 1 || !strings.Contains(errs, "run it again to go on") {
		t.Errorf("a lost door: exit %d, %q", code, errs)
	}
}

func TestALogIsToldOnceThatTheDoorIsAway(t *testing.T) {
	var asked atomic.Int32
	busy := func() int {
		if n := asked.Add(1); n <= 20 && n%2 == 0 {
			return http.StatusServiceUnavailable
		}
		return http.StatusCreated
	}
	code, out, errs := tidings("import", "--sample=100", "--workers=2", "--door="+fakeDoor(t, busy))
	if code != 0 || out != "100 created, 0 already there, 0 bad\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	if n := strings.Count(errs, "the door is away, and is tried for 30s: the door answered 503"); n != 1 {
		t.Errorf("told %d times: %q", n, errs)
	}
}

func TestTheBarSaysThatTheDoorIsAwayUntilItAnswers(t *testing.T) {
	var out bytes.Buffer
	d := &display{out: &out, bar: newBar(&out, 10, true), terminal: true, retry: time.Second}
	shows := func(want string) {
		t.Helper()
		if got := d.bar.State().Description; got != want {
			t.Errorf("the bar shows %q, want %q", got, want)
		}
	}
	d.waiting(errors.New("refused"), time.Second)
	shows(doorAway)
	d.progress(importer.Row{Err: errors.New("a bad row, which the door was not asked about")})
	shows(doorAway)
	d.progress(importer.Row{})
	shows(importing)
	d.waiting(context.DeadlineExceeded, time.Second)
	shows(doorAway)
}
