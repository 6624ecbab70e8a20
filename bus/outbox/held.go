package outbox

import (
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tidings-dev/tidings/bus"
)

// held knows which keys are held back because an event of theirs was not acknowledged, and when they are tried again.
//
// Nobody can say which keys share a dead partition, and an event that was given up may be stored all the same. So few
// keys are tried at first, taken at random, and eight times as many each time that one of them gets through. They are
// let go at the start of a pass only, which reads from the lowest position: so each goes on where it stopped.
type held struct {
	pace   pace
	delays *backoff.ExponentialBackOff

	keys   map[eventKey]struct{}
	trying map[eventKey]struct{} // let go for this pass
	probe  int                   // how many are let go at a time
	due    time.Time
	err    error // why the last key was held back

	// sample, where it is not 0, is how many keys the next pass takes, at random from all that is unsent. That is
	// how the relay goes on when nothing got through: what stands in front may be of a dead partition all of it.
	sample  int
	nothing bool // the last pass got nothing through

	// Of this pass:
	came            bool // an event of a key in trying got through
	through, failed int  // events
	covered         bool // all that is unsent was tried
}

// eventKey is what events have to keep their order by.
type eventKey struct{ topic, key string }

// newHeld holds nothing back.
func newHeld(p pace) *held {
	return &held{
		pace: p, delays: newDelays(p), probe: p.probe,
		keys: make(map[eventKey]struct{}), trying: make(map[eventKey]struct{}),
	}
}

// begin lets some keys go, where that is due. Call it before a pass.
func (h *held) begin(now time.Time) {
	clear(h.trying)
	h.came, h.covered, h.through, h.failed = false, false, 0, 0
	if now.Before(h.due) {
		return
	}
	for k := range h.keys {
		if len(h.trying) == h.probe {
			break
		}
		h.trying[k] = struct{}{}
		delete(h.keys, k)
	}
}

// allows reports whether events of a key may be published in this pass.
func (h *held) allows(k eventKey) bool {
	if _, is := h.keys[k]; is {
		return false
	}
	return len(h.keys) < h.pace.maxHeld || h.tries(k)
}

// tries reports whether a key was let go for this pass.
func (h *held) tries(k eventKey) bool {
	_, is := h.trying[k]
	return is
}

// empty reports whether every key may be published.
func (h *held) empty() bool { return len(h.keys) == 0 }

// hold holds a key back.
func (h *held) hold(k eventKey, err error) {
	h.keys[k] = struct{}{}
	h.err = err
}

// cameThrough takes note of events that were acknowledged.
func (h *held) cameThrough(topic string, events []bus.Event) {
	h.through += len(events)
	for i := 0; i < len(events) && len(h.trying) > 0 && !h.came; i++ {
		h.came = h.tries(eventKey{topic, events[i].Key})
	}
}

// stuck reports whether this pass has got nothing through although it tried.
func (h *held) stuck() bool { return h.through == 0 && h.failed > 0 }

// patience is how long a publish may take.
func (h *held) patience() time.Duration {
	switch {
	case h.nothing:
		return h.pace.away
	case h.empty() && len(h.trying) == 0:
		return h.pace.patience
	default:
		return h.pace.partly
	}
}

// next says when keys are tried again, if any are held back.
func (h *held) next(now time.Time) (left time.Duration, some bool) {
	return max(0, h.due.Sub(now)), !h.empty()
}

// Kinds of changes worth a line in the log.
const (
	heldSame = iota
	heldMore
	heldNone
)

type heldChange struct {
	kind  int
	keys  int
	delay time.Duration
	err   error
}

// end decides when keys are tried again, and how the next pass goes about it. Call it after a pass.
func (h *held) end(now time.Time) heldChange {
	h.resample()
	had := len(h.trying) > 0
	switch {
	case h.empty():
		h.calm()
		if had {
			return heldChange{kind: heldNone}
		}
	case h.came:
		h.probe = min(8*h.probe, h.pace.maxHeld)
		h.delays.Reset()
		h.due = now
	case had, h.due.IsZero(): // those tried failed again, or these are the first
		h.probe = h.pace.probe
		delay := h.delays.NextBackOff()
		h.due = now.Add(delay)
		return heldChange{kind: heldMore, keys: len(h.keys), delay: delay, err: h.err}
	}
	return heldChange{}
}

// resample chooses between passes over everything and samples.
func (h *held) resample() {
	if h.through+h.failed > 0 {
		h.nothing = h.stuck()
	}
	switch {
	case h.stuck():
		h.sample = h.pace.probe
	case h.sample > 0 && (h.covered || h.failed == 0):
		h.sample = 0
	case h.sample > 0:
		h.sample = min(8*h.sample, h.pace.batch)
	}
}

// calm goes back to how it was before anything failed.
func (h *held) calm() {
	clear(h.trying)
	h.probe, h.sample, h.nothing, h.due, h.err = h.pace.probe, 0, false, time.Time{}, nil
	h.delays.Reset()
}

// firstFailures returns for each key the index of its first event that was not acknowledged.
func firstFailures(events []bus.Event, failed map[int]error) map[string]int {
	first := make(map[string]int)
	for i := range failed {
		key := events[i].Key
		if at, ok := first[key]; !ok || i < at {
			first[key] = i
		}
	}
	return first
}
