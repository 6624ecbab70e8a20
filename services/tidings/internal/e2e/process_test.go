package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that runs.
type process struct {
	name   string
	cmd    *exec.Cmd
	out    output
	exited chan struct{}
}

// output keeps what a process prints. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts a program. It is killed at the test's end if it still runs, and what it printed is logged if the test
// failed.
func start(t *testing.T, path string, env []string, args ...string) *process {
	t.Helper()
	return startReading(t, nil, path, env, args...)
}

// startReading is start with a standard input; nil is an empty one.
func startReading(t *testing.T, stdin *os.File, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{name: path, cmd: exec.Command(path, args...), exited: make(chan struct{})}
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = append(environment(), env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the state says how it ended
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %v printed:\n%s", path, args, tail(p.out.String()))
		}
	})
	return p
}

// ports are those that were given out, for each to be one test's alone.
var ports = struct {
	sync.Mutex
	next int
}{next: 10_000 + rand.IntN(5_000)}

// ownAddress returns an address on loopback that stays free while nobody listens there, so that whatever was stopped
// can come back to it: its port, and those behind it, n in all, are below those that the system gives out.
func ownAddress(t *testing.T, n int) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 5_000 {
		first := ports.next
		ports.next += n
		if free(first, n) {
			return fmt.Sprintf("127.0.0.1:%d", first)
		}
	}
	t.Fatal("no free ports")
	return ""
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// environment is this process's own without the settings that a developer's shell may hold for the programs: tests say
// all that they want set.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "TIDINGS_") &&
			!strings.HasPrefix(variable, "TIDINGS_TEST_") && !strings.HasPrefix(variable, "TIDINGS_E2E_")
	})
}

func TestProcessesDoNotInheritTheShellsSettings(t *testing.T) {
	t.Setenv("TIDINGS_LOG_LEVEL", "nonsense") // with which no program of ours would start
	t.Setenv("TIDINGS_TEST_CHILD", "1")
	p := start(t, binary(t, "tidings"), nil, "up", "--help")
	if code := p.wait(t, startTime); code != 0 {
		t.Errorf("exit %d: %s", code, p.out.String())
	}
	if slices.Contains(p.cmd.Env, "TIDINGS_LOG_LEVEL=nonsense") || !slices.Contains(p.cmd.Env, "TIDINGS_TEST_CHILD=1") {
		t.Errorf("environment %q", p.cmd.Env)
	}
}

func tail(s string) string {
	const most = 8000
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// kill ends the process as a power cut would, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.exited
}

// stop asks the process to end, as an operator would, and fails the test if it takes longer than it may or fails.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	if code := p.wait(t, stopTime); code != 0 {
		t.Errorf("%s exited %d after SIGTERM; it printed:\n%s", p.name, code, tail(p.out.String()))
	}
}

// stopTime is how long any of our programs may take to stop.
const stopTime = 30 * time.Second

// wait waits for the end of the process and returns its exit code.
func (p *process) wait(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // shows where it stands
		<-p.exited
		t.Fatalf("%s was still there after %v; it printed:\n%s", p.name, within, tail(p.out.String()))
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// startTime is how long a program may take until it serves, on a machine that is busy with other tests.
const startTime = 2 * time.Minute

// await waits until the output matches, and returns the last submatch.
func (p *process) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found string
	eventually(t, startTime, func() error {
		if m := re.FindStringSubmatch(p.out.String()); m != nil {
			found = m[len(m)-1]
			return nil
		}
		if !p.running() {
			t.Fatalf("%s ended (exit %d) before it printed %q; it printed:\n%s",
				p.name, p.cmd.ProcessState.ExitCode(), pattern, tail(p.out.String()))
		}
		return fmt.Errorf("%s has not printed %q", p.name, pattern)
	})
	return found
}
