// Package program is what every main does the same: signals, exit codes, and running the parts of a process
// together until they are to stop.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// IO is what a program sees of the world outside.
type IO struct {
	Name           string // of the program, which stands in front of its error
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Leaves says what would be left behind if a second signal ended the process now: "the folder /tmp/x"; "" is
	// nothing. It is set by [Main], and may be called at any time.
	Leaves func(what string)
}

// OS returns the process's own.
func OS(name string) IO {
	return IO{Name: name, Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
}

// Exit codes beside 0, which is nil. Others are given by [WithExitCode].
const (
	Failure     = 1
	Usage       = 2   // the flags are wrong
	Interrupted = 130 // what shells say of a program that a signal ended
)

// Main runs run and returns the code to exit with. An interrupt or SIGTERM ends run's context; a second one ends
// the process at once, of which who interrupts it is told, with what IO.Leaves has said. run stops what it has started and returns nil for a stop that went well. Its error is
// printed in one line behind the program's name, once, and decides the code: that of an ExitCode() int method in
// its tree, 0 of which prints nothing; Interrupted for the context's own end; else Failure.
func Main(in IO, run func(ctx context.Context, in IO) error) (code int) {
	var left atomic.Pointer[string]
	in.Leaves = func(what string) { left.Store(&what) }
	in.Leaves("")
	ctx, stop := catchSignals(in, func() string { return *left.Load() })
	defer stop()
	err := run(ctx, in)
	code = exitCode(ctx, err)
	if code == Interrupted {
		err = errors.New("interrupted")
	}
	if code != 0 {
		fmt.Fprintf(in.Stderr, "%s: %v\n", in.Name, err)
	}
	return code
}

// catchSignals returns a context that the first signal ends; the second one ends the process. To leave the second one
// to the system would not do: a shell that starts a program in the background has it ignore interrupts.
func catchSignals(in IO, left func() string) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, done := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case sig := <-signals:
			if sig == os.Interrupt { // by a person; a SIGTERM's log is read by programs
				fmt.Fprintf(in.Stderr, "%s: stopping; again to quit at once%s\n", in.Name, unless(left(), ", which leaves "))
			}
			cancel()
		case <-done:
			return
		}
		select {
		case <-signals:
			fmt.Fprintf(in.Stderr, "%s: interrupted at once%s\n", in.Name, unless(left(), ", and left "))
			os.Exit(Interrupted)
		case <-done:
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		watcher.Wait()
		cancel()
	}
}

// unless is what with words in front, or "" for nothing.
func unless(what, words string) string {
	if what == "" {
		return ""
	}
	return words + what
}

func exitCode(ctx context.Context, err error) int {
	var coder interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coder):
		return coder.ExitCode()
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return Interrupted
	}
	return Failure
}

// WithExitCode returns err with an exit code of its own for [Main], nil for nil.
func WithExitCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codeError{err, code}
}

type codeError struct {
	error
	code int
}

func (e *codeError) Unwrap() error { return e.error }
func (e *codeError) ExitCode() int { return e.code }
