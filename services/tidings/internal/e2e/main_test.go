package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain runs the tests, or, in a child that a test has started, an embedded server.
func TestMain(m *testing.M) {
	if name := os.Getenv(serverVar); name != "" {
		os.Exit(serve(name, os.Getenv(serverDirVar), os.Getenv(serverAddrVar)))
	}
	flag.Parse()
	atOnce()
	code := m.Run()
	for _, p := range []*programs{binaries, mortals} {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir) // a folder for temporary files
		}
	}
	os.Exit(code)
}

// atOnce lets more tests run at a time than there are processors, unless somebody has said how many: most of their time
// they wait for others' timers, such as those by which a group at a real broker forms.
func atOnce() {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		_ = flag.Set("test.parallel", "6") // it is a flag, and a number
	}
}

// programs are built once for all tests of a run.
type programs struct {
	tags  string
	quick bool // without the race detector, whatever the tests have
	all   []string
	once  sync.Once
	dir   string
	err   error
}

// binaries are the programs as everybody has them, with the race detector where the tests have it. mortals are those that
// die where a test wants it, and, since they are quick, those of the tests with most processes: see wire.programs.
var (
	binaries = &programs{all: []string{"./services/tidings", "./services/users", "./services/directory", "./services/audit", "./services/mailer"}}
	mortals  = &programs{tags: "tidings_crash", quick: true, all: binaries.all}
)

// root is the repository, as seen from this package's folder, where tests run.
const root = "../../../.."

// binary returns the path of one of binaries. GOFLAGS decides, as for the test itself, whether it has the race detector.
func binary(t *testing.T, name string) string {
	t.Helper()
	return binaries.path(t, name)
}

// path is that of a program, which is built at need, with the others.
func (p *programs) path(t *testing.T, name string) string {
	t.Helper()
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "tidings-e2e-"); p.err != nil {
			return
		}
		// Without tables for debuggers and linkers, which would take half of the time.
		cmd := exec.Command("go", append([]string{"build", "-ldflags=-s -w", "-tags", p.tags, "-o", p.dir + string(filepath.Separator)}, p.all...)...)
		cmd.Dir = root
		if p.quick {
			cmd.Env = append(os.Environ(), "GOFLAGS="+withoutRace(os.Getenv("GOFLAGS")))
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return filepath.Join(p.dir, name)
}

// withoutRace takes the race detector out of GOFLAGS.
func withoutRace(flags string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(flags), func(f string) bool {
		return strings.HasPrefix(strings.TrimLeft(f, "-"), "race")
	}), " ")
}

// eventually asks again until ask finds nothing wrong, and fails the test with what is wrong when the time is up. It asks
// less and less often, for asking is work too, for those who are asked.
func eventually(t *testing.T, within time.Duration, ask func() error) {
	t.Helper()
	const first, last = 20 * time.Millisecond, 250 * time.Millisecond
	pause, end := first, time.Now().Add(within)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v: %v", within, err)
		}
		<-time.After(pause)
		pause = min(pause*5/4, last)
	}
}

// lines cuts text into its lines that are not empty.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
