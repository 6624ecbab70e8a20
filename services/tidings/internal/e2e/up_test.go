package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// up is a platform in one process, as the README's first command starts it, on ports that the system picks.
type up struct {
	wire          // where the server is inside the platform, its url is the name that --bus has for it
	process       *process
	data          string
	env           []string
	control, door string

	missed map[string]int64 // events that a service must have missed, by its name, and count
	untold map[string]int64 // events of before its database was made, of which it knows nothing
}

// onPlatforms runs a test of a platform in one process: on each backend, with the server inside it, and on a real one.
func onPlatforms(t *testing.T, test func(t *testing.T, u *up)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name+" embedded", func(t *testing.T) {
			t.Parallel()
			test(t, newUp(t, wire{kind: k, url: k.name}))
		})
		t.Run(k.name+" real", func(t *testing.T) {
			url := k.needReal(t)
			t.Parallel()
			test(t, newUp(t, wire{kind: k, url: url, real: true}))
		})
	}
}

// onEmbeddedPlatforms runs a test of one with the server inside it.
func onEmbeddedPlatforms(t *testing.T, test func(t *testing.T, u *up)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, newUp(t, wire{kind: k, url: k.name}))
		})
	}
}

func newUp(t *testing.T, w wire) *up {
	t.Helper()
	return &up{wire: w, data: t.TempDir(), missed: map[string]int64{}, untold: map[string]int64{}}
}

func (u *up) start(t *testing.T, more ...string) {
	t.Helper()
	args := append([]string{"up", "--bus=" + u.url, "--data=" + u.data}, anyPorts()...)
	u.process = start(t, u.programs().path(t, "tidings"), u.env, append(args, more...)...)
	u.control = u.process.await(t, `(?m)^control +(\S+)$`)
	u.door = u.process.await(t, `(?m)^door +(\S+)/v1/users$`)
	u.process.await(t, `Ctrl-C`)
	if !u.keeps {
		eventually(t, startTime, func() error { return listen(u.report(t)) })
	}
}

// listen returns an error unless the subscriptions of all readers stand.
func listen(r control.Report) error {
	for _, s := range r.Services {
		if s.Service != control.Owner && !s.Bus {
			return fmt.Errorf("%s does not listen yet", s.Service)
		}
	}
	return nil
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

// report is what `status --json` prints, without a process for each look.
func (u *up) report(t *testing.T) control.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	r, err := control.Client{Address: u.control}.Report(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// agree waits until every service that serves holds n users' worth, less what it must lack, and status says just that.
func (u *up) agree(t *testing.T, n int64) {
	t.Helper()
	eventually(t, catchUpTime, func() error {
		r := u.report(t)
		lacking := 0
		for _, s := range r.Services {
			if s.State != lifecycle.Serving {
				continue
			}
			if err := u.holds(r, s, n); err != nil {
				return err
			}
			if u.missed[s.Service]+u.untold[s.Service] > 0 {
				lacking++
			}
		}
		if bad := r.Disagreements(); len(bad) != lacking {
			return fmt.Errorf("%d services must lack something; they disagree: %v", lacking, bad)
		}
		return nil
	})
	u.explains(t)
}

func (u *up) holds(r control.Report, s lifecycle.Status, n int64) error {
	keys := n - u.missed[s.Service] - u.untold[s.Service]
	if s.Keys != keys || s.Missed != u.missed[s.Service] || s.Outbox != nil && s.Outbox.Unsent > 0 {
		return fmt.Errorf("%s has %d keys of %d and counts %d as missed of %d", s.Service, s.Keys, keys, s.Missed, u.missed[s.Service])
	}
	if s.Service != control.Owner && !r.UpToDate(s) {
		return fmt.Errorf("%s is not up to date", s.Service)
	}
	return nil
}

// explains checks that `status` is content, or says of what is lacking what has become of it.
func (u *up) explains(t *testing.T) {
	t.Helper()
	code, out := u.tidings(t, "status")
	want := 0
	for _, lacking := range []struct {
		by  map[string]int64
		why string
	}{{u.missed, "missed"}, {u.untold, "before it first heard a number"}} {
		for name, n := range lacking.by {
			line := fmt.Sprintf(`(?m)^%s has .* (%s.* %[3]d events|%[3]d events.* %[2]s)`, name, lacking.why, n)
			if !regexp.MustCompile(line).MatchString(strings.ReplaceAll(out, ",", "")) {
				t.Errorf("%s: status does not say that of %d events: %s:\n%s", name, n, lacking.why, out)
			}
			want = 1
		}
	}
	if code != want {
		t.Errorf("status: exit %d, want %d\n%s", code, want, out)
	}
}

// The first minute is the same on every bus. Where it keeps nothing, a service that was stopped lacks what was written
// meanwhile, and says how much; who is new, all that was before; and nothing else is lost.
func TestTheFirstMinute(t *testing.T) {
	onPlatforms(t, func(t *testing.T, u *up) {
		u.start(t, "--topic=e2e-"+uuid.NewString(), "--door="+ownAddress(t, 1))
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
				u.must(t, "import", "--sample=50")
				total += 50
				u.agree(t, total) // all others, and so nothing is still on its way when this one is back
				u.lose(u.missed, name, 50)
			}
			u.must(t, "start", name)
			u.agree(t, total)
		}
		u.forget(t, "directory")
		delete(u.missed, "directory")
		u.lose(u.untold, "directory", total)
		u.agree(t, total)
		u.must(t, "import", "--sample=50") // it has this
		total += 50
		u.agree(t, total)

		// Ctrl-C, and the data stays.
		if err := u.process.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := u.process.wait(t, stopTime); code != 0 {
			t.Errorf("exit %d after Ctrl-C", code)
		}
		if u.real {
			return
		}
		u.start(t)
		u.agree(t, total)
		u.process.stop(t)
		u.start(t, "--fresh")
		clear(u.missed)
		clear(u.untold)
		u.agree(t, 0)
	})
}

// lose adds to what a service must lack, where the bus keeps nothing.
func (u *up) lose(by map[string]int64, name string, n int64) {
	if !u.keeps {
		by[name] += n
	}
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

// One flag puts what services know on Postgres, a schema each, and nothing else changes: they find it there again.
func TestOneFlagPutsThePlatformOnPostgres(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	u := newUp(t, wire{kind: kinds[0], url: kinds[0].name})
	s := &stack{wire: wire{postgres: true}, server: newDatabase(t)}
	u.env = s.environment()
	u.start(t, "--db="+s.server)
	u.must(t, "import", "--sample=100")
	u.agree(t, 100)
	u.process.stop(t)
	for _, name := range []string{"users", "directory", "audit", "mailer"} {
		one := &service{stack: s, name: name, home: name}
		if owner := one.ask(t, `SELECT service FROM service_owner`); owner != name {
			t.Errorf("schema %s belongs to %s", name, owner)
		}
	}
	if files, err := filepath.Glob(filepath.Join(u.data, "*", "*.db")); err != nil || len(files) > 0 {
		t.Errorf("files were made: %v, %v", files, err)
	}
	u.start(t, "--db="+s.server)
	u.must(t, "import", "--sample=50")
	u.must(t, "stop", "directory")
	u.must(t, "start", "directory")
	u.agree(t, 150)
	eventually(t, catchUpTime, func() error {
		if mails, err := filepath.Glob(filepath.Join(u.data, "*", "mailbox", "*.eml")); err != nil || len(mails) != 150 {
			return fmt.Errorf("%d mails below --data (%w), want 150", len(mails), err)
		}
		return nil
	})
	u.process.stop(t)
}

func TestASecondPlatformIsToldOfTheFirst(t *testing.T) {
	onEmbeddedPlatforms(t, func(t *testing.T, u *up) {
		u.start(t)
		p := start(t, binary(t, "tidings"), nil, "up", "--bus="+u.url, "--control="+u.control, "--data="+t.TempDir())
		if code := p.wait(t, startTime); code != 1 {
			t.Errorf("exit %d, want 1", code)
		}
		if want := "--control " + u.control + " is in use"; !strings.Contains(p.out.String(), want) {
			t.Errorf("it printed %q, want %q in it", p.out.String(), want)
		}
	})
}

// One flag changes the bus, and nothing else. What one has sent is not hidden from the other: each has data of its own,
// and finds it again.
func TestOneFlagChangesTheBus(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	counts := map[string]int64{}
	for round := range int64(2) {
		for _, k := range kinds {
			u := newUp(t, wire{kind: k, url: k.name})
			u.data = data
			u.start(t)
			for _, promise := range []string{`\(for first runs, tests and laptops\)`, promises(k)} {
				u.process.await(t, promise)
			}
			u.agree(t, counts[k.name])
			n := 20 * (round + 1)
			u.must(t, "import", fmt.Sprintf("--sample=%d", n))
			counts[k.name] += n
			u.agree(t, counts[k.name])
			u.process.stop(t)
		}
	}
}

// promises is what a platform prints of its bus.
func promises(k kind) string {
	if k.keeps {
		return `(?m)^ +durable, replayable, groups, ordered by key$`
	}
	return `(?m)^ +ordered by key; not durable, replayable, groups$`
}
