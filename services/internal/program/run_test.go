package program_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidings-dev/tidings/services/internal/program"
)

// diary records in which order things ended.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// until makes a component that ends, after the time given, when it is told.
func (d *diary) until(name string, after time.Duration, err error) program.Component {
	return program.Component{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		d.add(name + " told")
		time.Sleep(after) // in the bubble of synctest: exact, and takes no time
		d.add(name + " ended")
		return err
	}}
}

func TestComponentsStopOneAfterAnotherTheLastFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := program.Run(ctx, 10*time.Second,
			d.until("relay", time.Second, context.Canceled), d.until("door", time.Second, nil), d.until("gRPC", time.Second, nil))
		want := []string{"gRPC told", "gRPC ended", "door told", "door ended", "relay told", "relay ended"}
		if err != nil || !slices.Equal(d.lines, want) {
			t.Errorf("%v, %v; want %v", d.lines, err, want)
		}
	})
}

func TestAFailureStopsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		run  func(ctx context.Context) error
		want string
	}{
		{"error", func(context.Context) error { return broken }, "inbox: broken"},
		{"nothing", func(context.Context) error { return nil }, "inbox: it ended though nobody had stopped it"},
		{"canceled", func(context.Context) error { return context.Canceled }, "inbox: context canceled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				err := program.Run(t.Context(), 10*time.Second, d.until("relay", 0, nil),
					program.Component{Name: "inbox", Run: tt.run}, d.until("gRPC", 0, nil))
				if err == nil || err.Error() != tt.want {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				if want := []string{"gRPC told", "gRPC ended", "relay told", "relay ended"}; !slices.Equal(d.lines, want) {
					t.Errorf("%v, want %v", d.lines, want)
				}
			})
		})
	}
}

func TestErrorsOfStoppingAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		first, second := errors.New("first"), errors.New("second")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := program.Run(ctx, time.Second, d.until("a", 0, first), d.until("b", 0, second))
		if !errors.Is(err, first) || !errors.Is(err, second) || err.Error() != "a: first\nb: second" {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatHangsIsNamedAndNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		release := make(chan struct{})
		hangs := program.Component{Name: "door", Run: func(context.Context) error {
			<-release
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		err := program.Run(ctx, 8*time.Second, d.until("relay", time.Second, nil), hangs, d.until("gRPC", time.Second, nil))
		var late *program.StopError
		if !errors.As(err, &late) || !slices.Equal(late.Names, []string{"door"}) {
			t.Errorf("got %v, want a *StopError that names door", err)
		}
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("it took %v, want 8 s", took)
		}
		// Those behind the one that hangs still had the time to stop.
		if want := []string{"gRPC told", "gRPC ended", "relay told", "relay ended"}; !slices.Equal(d.lines, want) {
			t.Errorf("%v, want %v", d.lines, want)
		}
		close(release)
	})
}

func TestComponentsSeeTheCallersValues(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
	err := program.Run(ctx, time.Second, program.Component{Name: "a", Run: func(ctx context.Context) error {
		if ctx.Value(key{}) != "v" {
			t.Error("the value is lost")
		}
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}})
	if err != nil {
		t.Error(err)
	}
}
