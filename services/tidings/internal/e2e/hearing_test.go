package e2e

import (
	"sync/atomic"
	"testing"
)

// hearing is whether a reader gets what is published, on a bus that keeps nothing. Elsewhere all get everything.
type hearing int32

const (
	hears  hearing = iota // it gets everything
	deaf                  // it is down: it must get nothing, and count it
	unsure                // it or the server was killed: each event either comes or is counted
)

// current is a reader's hearing at the moment. It is safe for concurrent use: a load runs while readers are killed.
type current struct{ now atomic.Int32 }

func (c *current) is() hearing   { return hearing(c.now.Load()) }
func (c *current) set(h hearing) { c.now.Store(int32(h)) }

// listens waits until a reader that was started hears what is published. Nobody has to be waited for where the bus keeps
// it, and nobody can be while the server is gone.
func (s *service) listens(t *testing.T) {
	t.Helper()
	if s.stack.keeps || s.owns() || s.stack.cut {
		return
	}
	eventually(t, startTime, func() error { return s.bus(t) })
	if s.hearing.is() == deaf {
		s.hearing.set(hears)
	}
}

// turnsAway waits, before a service stops, until nothing is on its way to a reader, or from the owner: only then is it
// known what is lost. Where a replica goes on, nothing is.
func (s *service) turnsAway(t *testing.T) {
	t.Helper()
	if s.stack.keeps || s.stack.cut || s.covered() {
		return
	}
	if s.owns() {
		s.stack.published(t)
		return
	}
	eventually(t, catchUpTime, func() error { return s.upToDate(t) })
	s.hearing.set(deaf)
}

// doubt says that nobody knows which of the events to come a reader gets, until it agrees again.
func (s *service) doubt() {
	if !s.stack.keeps && !s.owns() && !s.covered() {
		s.hearing.set(unsure)
	}
}

// doubt is that of all readers. Say it before a load begins under which something is killed.
func (s *stack) doubt() {
	for _, r := range s.readers() {
		r.doubt()
	}
}

// kill ends the server as a power cut would.
func (s *stack) kill(t *testing.T, b server) {
	t.Helper()
	s.doubt()
	s.cut = true
	b.Kill(t)
}

// back starts the server again.
func (s *stack) back(t *testing.T, b server) {
	t.Helper()
	b.Start(t)
	s.cut = false
}

// isNew says that the reader knows of nothing that was published before.
func (s *service) isNew() {
	if s.stack.keeps {
		return
	}
	s.since = s.stack.ledger.len()
	s.hearing.set(hears)
}
