package soak

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Verb is what a write does.
type Verb string

// The verbs.
const (
	Create Verb = "create"
	Update Verb = "update"
	Delete Verb = "delete"
)

// Outcome is what the door made of a write.
type Outcome string

// The outcomes. Refused is a promise too: the write was not made.
const (
	Acknowledged Outcome = "acknowledged"
	Refused      Outcome = "refused"
	Unknown      Outcome = "unknown"
)

// Write is one request to the door and what came of it.
type Write struct {
	Verb    Verb
	User    string // the id; empty of a creation that was not acknowledged
	Name    string // which no other write has; empty of a deletion
	Email   string // empty where it is left as it was
	IfMatch uint64 // the version that it insists on; 0 for none
	Outcome Outcome
	Version uint64 // that the door has answered; 0 without
	Status  int    // of the answer; 0 without
	Begun   time.Time
	Ended   time.Time
}

// Read is a read that asked for a version at least, and what it was answered.
type Read struct {
	From    string // the service
	User    string
	Wanted  uint64
	Got     uint64 // 0: not there
	Name    string
	Deleted bool // it was answered that the user is gone
}

// ledger is what was written and read. It is safe for concurrent use.
type ledger struct {
	mu     sync.Mutex
	writes []Write
	reads  []Read
	asked  map[string]int // reads by what was answered
	live   []string       // users that may be there
	known  map[string]int // where in live
	recent []Write        // acknowledged ones that tell of a user who is there, the newest in a ring
	next   int
}

// newLedger has nothing in it.
func newLedger() *ledger {
	return &ledger{asked: map[string]int{}, known: map[string]int{}}
}

// recentWrites is how many writes readers choose from.
const recentWrites = 200

// add writes a write down.
func (l *ledger) add(w Write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes = append(l.writes, w)
	switch {
	case w.User == "":
	case w.Verb == Delete && w.Outcome != Refused || w.Status == 404:
		l.forget(w.User)
	case w.Verb == Create || w.Outcome == Acknowledged:
		l.learn(w.User)
	}
	if w.Outcome != Acknowledged || w.Verb == Delete {
		return
	}
	if len(l.recent) < recentWrites {
		l.recent = append(l.recent, w)
	} else {
		l.recent[l.next%recentWrites] = w
		l.next++
	}
}

// learn takes note of a user who may be there.
func (l *ledger) learn(id string) {
	if _, known := l.known[id]; !known {
		l.known[id] = len(l.live)
		l.live = append(l.live, id)
	}
}

// forget takes a user off the list of those who may be there: the last one of the list takes the place.
func (l *ledger) forget(id string) {
	at, known := l.known[id]
	if !known {
		return
	}
	last := l.live[len(l.live)-1]
	l.live[at], l.known[last] = last, at
	l.live = l.live[:len(l.live)-1]
	delete(l.known, id)
}

// someone is a user who may be there; empty where there is none.
func (l *ledger) someone(rng *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.live) == 0 {
		return ""
	}
	return l.live[rng.IntN(len(l.live))]
}

// lately is a write that was acknowledged lately.
func (l *ledger) lately(rng *rand.Rand) (Write, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) == 0 {
		return Write{}, false
	}
	return l.recent[rng.IntN(len(l.recent))], true
}

// answered counts a read by its answer, and keeps it if it says something of a user.
func (l *ledger) answered(how string, r Read) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[how]++
	if r.Got > 0 || r.Deleted {
		l.reads = append(l.reads, r)
	}
}
