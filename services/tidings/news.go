package main

import (
	"sync"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// news is changes of state on their way to the view, in order. Whoever adds one never waits for the terminal. It is safe
// for concurrent use.
type news struct {
	more chan struct{} // receives when there may be something to take

	mu  sync.Mutex
	all []lifecycle.Status
}

func newNews() *news { return &news{more: make(chan struct{}, 1)} }

func (n *news) add(s lifecycle.Status) {
	n.mu.Lock()
	n.all = append(n.all, s)
	n.mu.Unlock()
	select {
	case n.more <- struct{}{}:
	default: // it is known already
	}
}

// take returns what was added since the last take.
func (n *news) take() []lifecycle.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.all
	n.all = nil
	return all
}
