package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

func TestImportReportsBadRowsAndCanBeRunAgain(t *testing.T) {
	onEmbeddedPlatforms(t, func(t *testing.T, u *up) {
		u.start(t)
		dir := t.TempDir()
		file := filepath.Join(dir, "people.csv")
		if err := os.WriteFile(file, []byte("email,name\nada@example.com,Ada\nx,Bob\nbob@example.com,Bob\nADA@example.com,Ada\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out := u.tidings(t, "import", file)
		if code != 3 || !strings.Contains(out, `2 created, 1 already there, 1 bad (line 3: email: "x" is not an address`) {
			t.Errorf("exit %d, %q", code, out)
		}
		bad, err := os.ReadFile(file + ".bad.csv")
		if err != nil || !strings.Contains(string(bad), "\n3,") {
			t.Errorf("bad rows: %q, %v", bad, err)
		}
		if code, out = u.tidings(t, "import", file); code != 3 || !strings.Contains(out, "0 created, 3 already there, 1 bad") {
			t.Errorf("again: exit %d, %q", code, out)
		}
	})
}

func TestImportFromStandardInput(t *testing.T) {
	onEmbeddedPlatforms(t, func(t *testing.T, u *up) {
		u.start(t)
		cmd := exec.Command(binary(t, "tidings"), "import", "-", "--door="+u.door)
		cmd.Dir, cmd.Env = t.TempDir(), environment()
		cmd.Stdin = strings.NewReader("{\"email\":\"ada@example.com\",\"name\":\"Ada\"}\n")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "1 created") {
			t.Errorf("%v: %q", err, out)
		}
		u.agree(t, 1)
	})
}

// An import goes on through a door that is away for a while, and every user is made once.
func TestImportOutlivesTheDoor(t *testing.T) {
	onEmbeddedPlatforms(t, func(t *testing.T, u *up) {
		u.start(t, "--door="+ownAddress(t, 1)) // one that the door comes back to
		p := start(t, binary(t, "tidings"), nil, "import", "--sample=800", "--workers=2", "--door="+u.door)
		eventually(t, catchUpTime, func() error {
			if s, _ := u.report(t).Service("users"); s.Count < 100 {
				return fmt.Errorf("%d users", s.Count)
			}
			return nil
		})
		u.must(t, "stop", "users")
		if !p.running() {
			t.Error("the import was over before the door was closed: this run shows nothing")
		}
		u.must(t, "start", "users")
		if code := p.wait(t, catchUpTime); code != 0 {
			t.Errorf("exit %d: %s", code, p.out.String())
		}
		u.agree(t, 800)
	})
}

// The whole platform is killed under an import, its server with it, and started again: every user is made once, and in
// the end each service has all, less what it counts, which is nothing where the bus keeps everything.
func TestAPlatformThatIsKilledUnderAnImportCountsExactly(t *testing.T) {
	onEmbeddedPlatforms(t, func(t *testing.T, u *up) {
		const total = 600
		door := "--door=" + ownAddress(t, 1)
		u.start(t, door)
		u.agree(t, 0) // from which on each counts
		p := start(t, binary(t, "tidings"), nil, "import", "--sample="+strconv.Itoa(total), "--workers=4", "--door="+u.door)
		for _, before := range []int64{100, 300} {
			eventually(t, catchUpTime, func() error {
				if s, _ := u.report(t).Service("users"); s.Count < before {
					return fmt.Errorf("%d users", s.Count)
				}
				return nil
			})
			u.process.kill()
			u.start(t, door)
		}
		if code := p.wait(t, catchUpTime); code != 0 {
			t.Errorf("exit %d: %s", code, p.out.String())
		}
		eventually(t, catchUpTime, func() error { return u.adds(u.report(t), total) })
	})
}

// adds returns an error unless what each service has, and what it counts as missed, are n users together.
func (u *up) adds(r control.Report, n int64) error {
	for _, s := range r.Services {
		switch {
		case s.Keys+s.Missed != n || u.keeps && s.Missed > 0:
			return fmt.Errorf("%s has %d of %d users, and counts %d as missed", s.Service, s.Keys, n, s.Missed)
		case s.Service != control.Owner && !r.UpToDate(s):
			return fmt.Errorf("%s is not up to date", s.Service)
		}
	}
	return nil
}

// An import from a terminal at which nobody types ends with Ctrl-C.
func TestImportOfASilentInputCanBeInterrupted(t *testing.T) {
	silent, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = silent.Close(), writer.Close() }()
	var reached atomic.Bool
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		reached.Store(true)
	}))
	defer door.Close()
	p := startReading(t, silent, binary(t, "tidings"), nil, "import", "-", "--door="+door.URL)
	if _, err := writer.WriteString("email,name\nada@example.com,Ada\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, startTime, func() error {
		if !reached.Load() {
			return errors.New("the first row has not come")
		}
		return nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t, stopTime); code != 130 || !strings.Contains(p.out.String(), "interrupted") {
		t.Errorf("exit %d, %q; want 130", code, p.out.String())
	}
}

// What swallows rows of the input ends the import with an error, behind the rows before it.
func TestImportTellsOfAQuoteThatIsNeverClosed(t *testing.T) {
	onEmbeddedPlatforms(t, func(t *testing.T, u *up) {
		u.start(t)
		file := filepath.Join(t.TempDir(), "people.csv")
		if err := os.WriteFile(file, []byte("email,name\na@x.org,A\nb@x.org,\"B\nc@x.org,C\nd@x.org,D\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out := u.tidings(t, "import", file)
		want := "import: line 3: a quote is opened and never closed; nothing from there on was read\n"
		if code != 1 || !strings.Contains(out, "1 created, 0 already there, 0 bad\n") || !strings.HasSuffix(out, want) {
			t.Errorf("exit %d, %q; want 1 created and %q", code, out, want)
		}
	})
}
