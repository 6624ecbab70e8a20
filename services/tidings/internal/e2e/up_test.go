package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// up is a platform in one process, as the README's first command starts it, on ports that the system picks.
type up struct {
	process       *process
	bus, data     string
	control, door string
}

func startUp(t *testing.T, bus, data string, more ...string) *up {
	t.Helper()
	u := &up{bus: bus, data: data}
	u.start(t, more...)
	return u
}

func (u *up) start(t *testing.T, more ...string) {
	t.Helper()
	args := append([]string{"up", "--bus=" + u.bus, "--data=" + u.data}, anyPorts()...)
	u.process = start(t, binary(t, "tidings"), nil, append(args, more...)...)
	u.control = u.process.await(t, `(?m)^control +(\S+)$`)
	u.door = u.process.await(t, `(?m)^door +(\S+)/v1/users$`)
	u.process.await(t, `Ctrl-C`)
}

// anyPorts keeps `up` from the ports of a platform that runs on this machine.
func anyPorts() (flags []string) {
	for _, flag := range []string{"control", "broker", "door", "users", "directory", "audit", "mailer"} {
		flags = append(flags, "--"+flag+"=127.0.0.1:0")
	}
	return flags
}

// tidings runs a command against the platform and returns its exit code and what it printed.
func (u *up) tidings(t *testing.T, args ...string) (int, string) {
	t.Helper()
	where := "--control=" + u.control
	if args[0] == "import" {
		where = "--door=" + u.door
	}
	p := start(t, binary(t, "tidings"), nil, append(args, where)...)
	code := p.wait(t, startTime)
	return code, p.out.String()
}

func (u *up) must(t *testing.T, args ...string) string {
	t.Helper()
	code, out := u.tidings(t, args...)
	if code != 0 {
		t.Fatalf("tidings %v: exit %d\n%s", args, code, out)
	}
	return out
}

func (u *up) report(t *testing.T) control.Report {
	t.Helper()
	_, out := u.tidings(t, "status", "--json")
	var r control.Report
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil {
		t.Fatalf("status --json: %v\n%s", err, out)
	}
	return r
}

// agree waits until every service that serves holds n users' worth, and status says that all agree.
func (u *up) agree(t *testing.T, n int64) {
	t.Helper()
	eventually(t, catchUpTime, func() error {
		r := u.report(t)
		for _, s := range r.Services {
			if s.State != lifecycle.Serving {
				continue
			}
			if s.Keys != n || s.Lag != 0 || s.Outbox != nil && s.Outbox.Unsent > 0 {
				return fmt.Errorf("%s has %d keys of %d, lag %d", s.Service, s.Keys, n, s.Lag)
			}
		}
		if bad := r.Disagreements(); len(bad) > 0 {
			return fmt.Errorf("they disagree: %v", bad)
		}
		return nil
	})
	u.must(t, "status")
}

func TestTheFirstMinute(t *testing.T) {
	onKafka(t, func(t *testing.T, url string) {
		if strings.Contains(t.Name(), "embedded") {
			url = "kafka" // the one inside the process
		}
		u := startUp(t, url, t.TempDir(), "--topic=e2e-"+uuid.NewString())
		if out := u.must(t, "import", "--sample=1000"); !strings.Contains(out, "1,000 created, 0 already there, 0 bad") {
			t.Errorf("import printed %q", out)
		}
		u.agree(t, 1000)
		total := int64(1000)
		for _, name := range []string{"directory", "audit", "mailer", "users"} {
			u.must(t, "stop", name)
			if s, _ := u.report(t).Service(name); s.State != lifecycle.Stopped {
				t.Errorf("%s is %q after stop", name, s.State)
			}
			if name != "users" {
				u.must(t, "import", "--sample=200")
				total += 200
			}
			u.must(t, "status")
			u.must(t, "start", name)
			u.agree(t, total)
		}
		u.forget(t, "directory")
		u.agree(t, total)

		// Ctrl-C, and the data stays.
		if err := u.process.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := u.process.wait(t, stopTime); code != 0 {
			t.Errorf("exit %d after Ctrl-C", code)
		}
		if url == "kafka" {
			u.start(t)
			u.agree(t, total)
			u.process.stop(t)
			u.start(t, "--fresh")
			u.agree(t, 0)
		}
	})
}

// forget stops a service of the platform, deletes its database, and starts it.
func (u *up) forget(t *testing.T, name string) {
	t.Helper()
	u.must(t, "stop", name)
	files, err := filepath.Glob(filepath.Join(u.report(t).Data, name+".db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database of %s: %v", name, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	u.must(t, "start", name)
}

func TestASecondPlatformIsToldOfTheFirst(t *testing.T) {
	u := startUp(t, "kafka", t.TempDir())
	p := start(t, binary(t, "tidings"), nil, "up", "--control="+u.control, "--data="+t.TempDir())
	if code := p.wait(t, startTime); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	if want := "--control " + u.control + " is in use"; !strings.Contains(p.out.String(), want) {
		t.Errorf("it printed %q, want %q in it", p.out.String(), want)
	}
}

func TestFreshIsRefusedWhereTheLogStays(t *testing.T) {
	p := start(t, binary(t, "tidings"), nil, "up", "--bus=kafka://127.0.0.1:1", "--fresh", "--control=127.0.0.1:0", "--data="+t.TempDir())
	if code := p.wait(t, startTime); code != 2 || !strings.Contains(p.out.String(), "--fresh") {
		t.Errorf("exit %d, %q; want 2 and a word on --fresh", code, p.out.String())
	}
}

func TestImportReportsBadRowsAndCanBeRunAgain(t *testing.T) {
	u := startUp(t, "kafka", t.TempDir())
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
}

func TestImportFromStandardInput(t *testing.T) {
	u := startUp(t, "kafka", t.TempDir())
	cmd := exec.Command(binary(t, "tidings"), "import", "-", "--door="+u.door)
	cmd.Dir, cmd.Env = t.TempDir(), environment()
	cmd.Stdin = strings.NewReader("{\"email\":\"ada@example.com\",\"name\":\"Ada\"}\n")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "1 created") {
		t.Errorf("%v: %q", err, out)
	}
	u.agree(t, 1)
}

// An import goes on through a door that is away for a while, and every user is made once.
func TestImportOutlivesTheDoor(t *testing.T) {
	u := &up{bus: "kafka", data: t.TempDir()}
	u.start(t, fmt.Sprintf("--door=127.0.0.1:%d", freePorts(t))) // one that the door comes back to
	p := start(t, binary(t, "tidings"), nil, "import", "--sample=6000", "--workers=2", "--door="+u.door)
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
	u.agree(t, 6000)
}

func TestWhatIsTypedWrongIsTold(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"status", "--control=127.0.0.1:1"}, 1, "no platform answers at 127.0.0.1:1"},
		{[]string{"up", "--bus=redis"}, 1, "redis"},
		{[]string{"up", "--bus=kafka://127.0.0.1:1?ack=1"}, 1, `unknown parameter "ack"; did you mean "acks"?`},
		{[]string{"up", "--directroy=127.0.0.1:1"}, 2, "unknown flag --directroy"},
		{[]string{"import"}, 2, "--sample"},
		{[]string{"import", "--sample=-1"}, 2, "--sample -1"},
		{[]string{"import", "--sample=1", "--door=ftp://127.0.0.1:1"}, 2, `--door "ftp://127.0.0.1:1": ftp:// is not spoken there`},
		{[]string{"import", "--sample=1", "--door=127.0.0.1"}, 2, `--door "127.0.0.1": pass HOST:PORT`},
		{[]string{"import", "nowhere.csv"}, 1, "nowhere.csv"},
		{[]string{"import", "--sample=1", "--door=http://127.0.0.1:1", "--retry=200ms"}, 1, "the write door can't be reached"},
		{[]string{"nonsense"}, 2, "nonsense"},
	} {
		args := c.args
		if args[0] == "up" {
			args = slices.Concat(args, anyPorts(), []string{"--data=" + t.TempDir()}) // not this package's folder
		}
		p := start(t, binary(t, "tidings"), nil, args...)
		if code := p.wait(t, startTime); code != c.code || !strings.Contains(p.out.String(), c.want) {
			t.Errorf("tidings %v: exit %d, %q; want %d and %q", c.args, code, p.out.String(), c.code, c.want)
		}
	}
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
	u := startUp(t, "kafka", t.TempDir())
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, []byte("email,name\na@x.org,A\nb@x.org,\"B\nc@x.org,C\nd@x.org,D\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := u.tidings(t, "import", file)
	want := "import: line 3: a quote is opened and never closed; nothing from there on was read\n"
	if code != 1 || !strings.Contains(out, "1 created, 0 already there, 0 bad\n") || !strings.HasSuffix(out, want) {
		t.Errorf("exit %d, %q; want 1 created and %q", code, out, want)
	}
}

func TestAServiceWhoseAddressIsInUseSaysSo(t *testing.T) {
	s := &stack{dir: t.TempDir()}
	s.directory = s.service("directory", "kafka://127.0.0.1:1", "e2e-nobody")
	s.directory.start(t)
	second := start(t, binary(t, "directory"), nil, "--bus=kafka://127.0.0.1:1",
		"--db="+filepath.Join(s.dir, "second.db"), "--listen="+s.directory.listen)
	if code := second.wait(t, startTime); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	want := "directory: --listen " + s.directory.listen + " is in use; stop the other process or pass --listen\n"
	if !strings.Contains(second.out.String(), want) {
		t.Errorf("it printed %q, want %q", second.out.String(), want)
	}
	third := start(t, binary(t, "directory"), nil, "--bus=kafka://127.0.0.1:1", "--db="+s.directory.db, "--listen=127.0.0.1:0")
	if code := third.wait(t, startTime); code != 1 || !strings.Contains(third.out.String(), "in use by another process") {
		t.Errorf("exit %d, %q; want the database to be in use", code, third.out.String())
	}
	bare := start(t, binary(t, "directory"), nil, "--bus=kafka")
	if code := bare.wait(t, startTime); code != 2 || !strings.Contains(bare.out.String(), "kafka://127.0.0.1:19092") {
		t.Errorf("exit %d, %q; want the address to pass", code, bare.out.String())
	}
}
