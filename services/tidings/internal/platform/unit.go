package platform

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// unit is one service and the goroutine that runs it. It is safe for concurrent use.
type unit struct {
	lifecycle.Service

	change sync.Mutex // one start or stop at a time
	cancel context.CancelFunc
	ended  chan struct{} // closed when Run has returned; nil before the first start
	err    error         // of Run; read it after ended
}

// start runs the service and returns once it serves, or why it does not. Its life is the process's, not ctx's.
func (u *unit) start(ctx context.Context) error {
	u.change.Lock()
	defer u.change.Unlock()
	if u.running() {
		return nil
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ready, ended := make(chan struct{}), make(chan struct{})
	u.cancel, u.ended = cancel, ended
	go func() {
		defer close(ended)
		u.err = u.Run(life, func(lifecycle.Info) { close(ready) })
	}()
	select {
	case <-ready:
		return nil
	case <-ended:
		return u.failure()
	case <-ctx.Done():
		cancel()
		<-ended
		return ctx.Err()
	}
}

// stop stops the service and returns once it is gone.
func (u *unit) stop() error {
	u.change.Lock()
	defer u.change.Unlock()
	if !u.running() {
		return nil
	}
	u.cancel()
	<-u.ended
	if u.err != nil {
		return fmt.Errorf("%s: %w", u.Name(), u.err)
	}
	return nil
}

func (u *unit) running() bool {
	if u.ended == nil {
		return false
	}
	select {
	case <-u.ended:
		return false
	default:
		return true
	}
}

func (u *unit) failure() error {
	if u.err == nil {
		return fmt.Errorf("%s: %w", u.Name(), errors.New("it ended before it served"))
	}
	return fmt.Errorf("%s: %w", u.Name(), u.err)
}
