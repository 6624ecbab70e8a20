package program_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/services/internal/program"
)

// childKind says, where a test has started this binary again, what kind of program it is to be.
const childKind = "TIDINGS_TEST_PROGRAM_CHILD"

func TestMain(m *testing.M) {
	if kind := os.Getenv(childKind); kind != "" {
		os.Exit(program.Main(program.OS("child"), child(kind)))
	}
	goleak.VerifyTestMain(m)
}

// child waits for its context's end; a stubborn one then says so and does not stop.
func child(kind string) func(context.Context, program.IO) error {
	return func(ctx context.Context, in program.IO) error {
		if kind == "stubborn" {
			in.Leaves("nothing yet")
			in.Leaves("the folder /tmp/x")
		}
		fmt.Fprintln(in.Stdout, "running")
		<-ctx.Done()
		fmt.Fprintln(in.Stdout, "stopping")
		switch kind {
		case "stubborn":
			select {}
		case "interrupted":
			return fmt.Errorf("import: %w", ctx.Err())
		}
		return nil
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		err     error
		code    int
		printed string
	}{
		{nil, 0, ""},
		{errors.New("it broke"), 1, "directory: it broke\n"},
		{program.WithExitCode(3, errors.New("1 bad")), 3, "directory: 1 bad\n"},
		{fmt.Errorf("import: %w", program.WithExitCode(3, errors.New("1 bad"))), 3, "directory: import: 1 bad\n"},
		{program.WithExitCode(0, errors.New("help was printed")), 0, ""},
		{program.WithExitCode(2, nil), 0, ""},
		{context.Canceled, 1, "directory: context canceled\n"}, // not by a signal
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		in := program.IO{Name: "directory", Args: []string{"a"}, Stdout: &stdout, Stderr: &stderr}
		code := program.Main(in, func(_ context.Context, in program.IO) error {
			if len(in.Args) != 1 {
				t.Errorf("args %v", in.Args)
			}
			return tt.err
		})
		if code != tt.code || stderr.String() != tt.printed || stdout.Len() != 0 {
			t.Errorf("%v: code %d, printed %q; want %d, %q", tt.err, code, &stderr, tt.code, tt.printed)
		}
	}
}

func TestWithExitCodeKeepsTheError(t *testing.T) {
	broken := errors.New("broken")
	if err := program.WithExitCode(3, broken); !errors.Is(err, broken) || err.Error() != "broken" {
		t.Errorf("got %v", err)
	}
}

// started is a second process of some kind, at work.
type started struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	stderr bytes.Buffer
}

func start(t *testing.T, kind string) *started {
	t.Helper()
	s := &started{cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(os.Environ(), childKind+"="+kind)
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	s.expect(t, "running")
	return s
}

func (s *started) expect(t *testing.T, line string) {
	t.Helper()
	if got, err := s.out.ReadString('\n'); strings.TrimSpace(got) != line {
		t.Fatalf("the process said %q (%v), want %q", got, err, line)
	}
}

func (s *started) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstSignalStopsInOrder(t *testing.T) {
	// A person is told of what a second one does; a SIGTERM is the system's.
	for sig, told := range map[os.Signal]string{os.Interrupt: "child: stopping; again to quit at once\n", syscall.SIGTERM: ""} {
		s := start(t, "orderly")
		s.signal(t, sig)
		s.expect(t, "stopping")
		if err := s.cmd.Wait(); err != nil || s.stderr.String() != told {
			t.Errorf("%v: %v, printed %q; want a clean end, and %q", sig, err, &s.stderr, told)
		}
	}
}

func TestTheSecondSignalEndsAtOnce(t *testing.T) {
	s := start(t, "stubborn")
	s.signal(t, os.Interrupt)
	s.expect(t, "stopping")
	s.signal(t, os.Interrupt)
	var exit *exec.ExitError
	if err := s.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != program.Interrupted {
		t.Errorf("got %v, want code %d", err, program.Interrupted)
	}
	want := "child: stopping; again to quit at once, which leaves the folder /tmp/x\nchild: interrupted at once, and left the folder /tmp/x\n"
	if s.stderr.String() != want {
		t.Errorf("printed %q, want %q", &s.stderr, want)
	}
}

func TestWhatASignalInterruptsSaysSo(t *testing.T) {
	s := start(t, "interrupted")
	s.signal(t, os.Interrupt)
	s.expect(t, "stopping")
	var exit *exec.ExitError
	if err := s.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != program.Interrupted {
		t.Errorf("got %v, want code %d", err, program.Interrupted)
	}
	if !strings.HasSuffix(s.stderr.String(), "\nchild: interrupted\n") {
		t.Errorf("printed %q", &s.stderr)
	}
}
