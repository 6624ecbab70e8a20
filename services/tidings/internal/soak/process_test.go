package soak

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is a process that runs a shell script.
func script(t *testing.T, text string) *process {
	t.Helper()
	s := newStarter()
	p := newProcess(s, t.TempDir(), "test", "sh", "-c", text)
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
		s.close()
	})
	return p
}

// printed waits until the process has printed a line n times.
func (p *process) printed(t *testing.T, line string, n int) {
	t.Helper()
	err := until(t.Context(), soon, func(context.Context) error {
		text, err := os.ReadFile(p.log)
		if got := strings.Count(string(text), line); err == nil && got < n {
			err = fmt.Errorf("%q is printed %d times, want %d: %s", line, got, n, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAProcessIsKilledAndStartedAgain(t *testing.T) {
	p := script(t, "echo here; sleep 1000")
	for n := range 2 {
		if err := p.up(); err != nil {
			t.Fatal(err)
		}
		p.printed(t, "here", n+1)
		if err := p.down(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if starts, ended := p.story(); starts != 2 || len(ended) != 0 {
		t.Errorf("started %d times; ended by itself: %q", starts, ended)
	}
}

func TestAProcessThatEndsByItselfIsStartedAgainAndTellsHow(t *testing.T) {
	p := script(t, `echo '"msg":"serving"'; echo last words; exit 3`)
	if err := p.up(); err != nil {
		t.Fatal(err)
	}
	p.printed(t, "last words", 2)
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	starts, ended := p.story()
	if starts < 2 || len(ended) == 0 || !strings.HasPrefix(ended[0], served) || !strings.Contains(ended[0], "exit status 3") || !strings.Contains(ended[0], "last words") {
		t.Errorf("started %d times; ended by itself: %q", starts, ended)
	}
}

func TestAPausedProcessCanBeKilled(t *testing.T) {
	p := script(t, "echo here; sleep 1000")
	if err := p.up(); err != nil {
		t.Fatal(err)
	}
	p.printed(t, "here", 1)
	if err := p.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.down(syscall.SIGKILL); err != nil || time.Since(began) > stopTime/2 {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func TestProgramsDoNotInheritTheShellsSettings(t *testing.T) {
	t.Setenv("TIDINGS_LOG_LEVEL", "nonsense")
	for _, v := range environment() {
		if strings.HasPrefix(v, "TIDINGS_") {
			t.Errorf("they inherit %s", v)
		}
	}
}
