package soak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopTime is how long a process may take to end in order.
	stopTime = 25 * time.Second
	// againAfter is how long after its end a process that ended by itself is started again, as a supervisor would.
	againAfter = 300 * time.Millisecond
)

// starter starts processes from one thread, which lives as long as the starter does: a child is told to die with the
// thread that has made it.
type starter struct {
	work chan func()
	gone sync.WaitGroup
}

// newStarter begins with no process. It has to be closed.
func newStarter() *starter {
	s := &starter{work: make(chan func())}
	s.gone.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for do := range s.work {
			do()
		}
	})
	return s
}

// start starts a command on the starter's thread, and returns when it runs.
func (s *starter) start(cmd *exec.Cmd) (err error) {
	done := make(chan struct{})
	s.work <- func() { err = cmd.Start(); close(done) }
	<-done
	return err
}

// close kills what still runs.
func (s *starter) close() {
	close(s.work)
	s.gone.Wait()
}

// process is a program that runs, ends and is started again, always with the same arguments, its output in one file.
// It is safe for concurrent use.
type process struct {
	name    string
	args    []string // the program first
	env     []string
	log     string // the file's path
	starter *starter

	closing chan struct{} // closed with the process, for good

	mu      sync.Mutex
	wanted  bool          // to run: when it ends by itself, it is started again
	running *os.Process   // nil while it does not run
	exited  chan struct{} // of running
	ended   []string      // how it ended by itself, each time
	starts  int
	waiting sync.WaitGroup
}

// newProcess names a program and its arguments. It does not run yet, and logs to a file of its name in dir.
func newProcess(s *starter, dir, name string, args ...string) *process {
	return &process{name: name, args: args, log: filepath.Join(dir, name+".log"), starter: s, closing: make(chan struct{})}
}

// isClosed reports whether the process is not to be started any more.
func (p *process) isClosed() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// up starts the process unless it runs.
func (p *process) up() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		return nil
	}
	p.wanted = true
	return p.startLocked()
}

// startLocked starts the process unless it runs. Its log is appended to: what it printed before its last end is evidence.
func (p *process) startLocked() error {
	if p.running != nil {
		return nil
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("soak: %s: %w", p.name, err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	from, err := out.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("soak: %s: %w", p.name, err)
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, childAttr()
	cmd.Env = append(environment(), p.env...)
	if err := p.starter.start(cmd); err != nil {
		return fmt.Errorf("soak: %s: %w", p.name, err)
	}
	p.running, p.exited = cmd.Process, make(chan struct{})
	p.starts++
	exited := p.exited
	p.waiting.Go(func() { p.wait(cmd, exited, from) })
	return nil
}

// wait waits for the end, and starts the process again if nobody has brought that about.
func (p *process) wait(cmd *exec.Cmd, exited chan struct{}, from int64) {
	err := cmd.Wait()
	p.mu.Lock()
	p.running = nil
	itself := p.wanted
	if itself {
		p.ended = append(p.ended, howItEnded(p.log, from, err))
	}
	p.mu.Unlock()
	close(exited)
	if !itself {
		return
	}
	pause := time.NewTimer(againAfter)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-p.closing:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted {
		_ = p.startLocked() // it has been started before; if not now, the run does not come to rest
	}
}

// howItEnded is whether the process had served by then, and its last line.
func howItEnded(log string, from int64, err error) string {
	when, last := "before it served", ""
	if text, readErr := os.ReadFile(log); readErr == nil && int64(len(text)) >= from {
		printed := strings.TrimSpace(string(text[from:]))
		if strings.Contains(printed, `"msg":"serving"`) {
			when = served
		}
		last = printed[strings.LastIndexByte(printed, '\n')+1:]
	}
	return fmt.Sprintf("%s (%v): %.300s", when, err, last)
}

// served begins the story of a process that had served when it ended by itself.
const served = "after it served"

// signal sends a signal to the process and to all that it has started.
func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signalLocked(sig)
}

// signalLocked is signal for who has the lock. A process that is gone already needs none, and that is no error.
func (p *process) signalLocked(sig syscall.Signal) error {
	if p.running == nil {
		return nil
	}
	if err := syscall.Kill(-p.running.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("soak: %s: %v: %w", p.name, sig, err)
	}
	return nil
}

// down ends the process and waits until it is gone. SIGTERM that is not obeyed in time is an error, and SIGKILL follows.
func (p *process) down(sig syscall.Signal) error {
	p.mu.Lock()
	p.wanted = false
	exited, running := p.exited, p.running
	err := p.signalLocked(sig)
	p.mu.Unlock()
	if running == nil || err != nil {
		return err
	}
	late := time.NewTimer(stopTime)
	defer late.Stop()
	select {
	case <-exited:
		return nil
	case <-late.C:
		_ = p.signal(syscall.SIGKILL) // what it should have obeyed is told
		<-exited
		return fmt.Errorf("soak: %s: it did not end within %v of %v", p.name, stopTime, sig)
	}
}

// close kills the process for good.
func (p *process) close() error {
	p.mu.Lock()
	if !p.isClosed() {
		close(p.closing)
	}
	p.mu.Unlock()
	err := p.down(syscall.SIGKILL)
	p.waiting.Wait()
	return err
}

// story is how often the process was started, and how it ended by itself.
func (p *process) story() (starts int, ended []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts, append([]string(nil), p.ended...)
}

// environment is ours without what a developer's shell may hold for the programs.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIDINGS_") {
			env = append(env, v)
		}
	}
	return env
}
