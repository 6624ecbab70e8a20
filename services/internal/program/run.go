package program

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Component is a part of a process that runs until its context ends.
type Component struct {
	Name string // for errors: "gRPC", "inbox"
	// Run returns nil, or the context's error, soon after its context has ended, and leaves no goroutine behind.
	// Returning earlier, with nil too, is a failure.
	Run func(ctx context.Context) error
}

// StopError says which components did not end in time. They may still be running.
type StopError struct {
	Names []string
	After time.Duration
}

// Error names them.
func (e *StopError) Error() string {
	return fmt.Sprintf("%s did not stop within %v", strings.Join(e.Names, ", "), e.After)
}

// Run starts all components at once and runs them until ctx ends, or until one of them returns. Then it stops them
// one after another, the last one first, each of which has ended before the next is told. When three quarters of
// stop have gone, all that are left are told at once; what is left at its end is named by a *[StopError].
//
// It returns the errors of the components with their names in front, nil after a stop that went well.
func Run(ctx context.Context, stop time.Duration, components ...Component) error {
	all := make([]*running, 0, len(components))
	ended := make(chan *running, len(components))
	for _, c := range components {
		all = append(all, start(ctx, c, ended))
	}
	early := make(map[*running]bool)
	select {
	case <-ctx.Done():
	case r := <-ended:
		early[r] = true
	}
	late := stopAll(all, stop)
	var faults []error
	for _, r := range all {
		if !r.hasEnded() {
			continue // late has its name, and its error is not ours to read
		}
		if err := r.fault(early[r] && ctx.Err() == nil); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", r.name, err))
		}
	}
	return errors.Join(append(faults, late)...)
}

// running is a component at work. err is set before done is closed.
type running struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// start runs c under a context that ends by cancel only, so that the order of stopping is ours.
func start(ctx context.Context, c Component, ended chan<- *running) *running {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{name: c.Name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer cancel()
		r.err = c.Run(ctx)
		close(r.done)
		ended <- r
	}()
	return r
}

func stopAll(all []*running, stop time.Duration) error {
	began := time.Now()
	for i := len(all) - 1; i >= 0; i-- {
		all[i].cancel()
		all[i].wait(time.Until(began.Add(stop * 3 / 4)))
	}
	var late []string
	for _, r := range all {
		if !r.wait(time.Until(began.Add(stop))) {
			late = append(late, r.name)
		}
	}
	if late == nil {
		return nil
	}
	return &StopError{Names: late, After: stop}
}

// wait waits for the end of r, at most for limit, and reports whether it has come.
func (r *running) wait(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
	}
	return r.hasEnded()
}

func (r *running) hasEnded() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// errEarly is the fault of a component that returned nil while it was to run.
var errEarly = errors.New("it ended though nobody had stopped it")

func (r *running) fault(early bool) error {
	switch {
	case early && r.err == nil:
		return errEarly
	case !early && errors.Is(r.err, context.Canceled):
		return nil
	}
	return r.err
}
