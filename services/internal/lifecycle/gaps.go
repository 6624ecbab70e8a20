package lifecycle

import (
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// gaps keeps the last losses that were noticed. It is safe for concurrent use.
type gaps struct {
	mu        sync.Mutex
	counted   *Gap
	uncounted *Gap
	// seq is what had been heard of at the first look after uncounted was set; looked says that there was one.
	seq    uint64
	looked bool
}

// set keeps g. Without a log, what the bus notices by itself (a lost connection, an overflow) is only where something may
// be missing: the numbers say it exactly afterwards, and so it never takes the place of what they have said.
func (l *gaps) set(g bus.Gap, keepsLog bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := &Gap{Time: time.Now(), Source: g.Source, Missed: g.Missed, Reason: g.Reason}
	if keepsLog || g.Source != "" && g.Missed > 0 {
		l.counted = gap
		return
	}
	l.uncounted, l.looked = gap, false
}

// get returns both, of which the uncounted one is over once another number was heard of than at the first look. Where no more numbers are
// given out it stays, and who knows the owner's can tell that nothing was lost.
func (l *gaps) get(seq uint64) (counted, uncounted *Gap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.uncounted == nil:
	case !l.looked:
		l.seq, l.looked = seq, true
	case seq != l.seq:
		l.uncounted = nil
	}
	return l.counted, l.uncounted
}
