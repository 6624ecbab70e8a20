package kafka

import (
	"errors"
	"time"
)

// backWithin is how long a member that was thrown out of its group may be without a partition before another consumer
// takes its place. Mostly it is back within seconds. But librdkafka was seen to be let in again and to hear of no
// partition from then on, while the group took some to be its own: nobody read them.
//
// It is longer than the 45 s after which a group gives away what a member held that died: a member with nothing may
// just be waiting for that.
const backWithin = time.Minute

// errUnassigned ends the session of a member that was thrown out and got nothing back; another session follows.
var errUnassigned = errors.New("thrown out of the group and given no partition since")

// absence is the time that a member has been without partitions since it was thrown out. A group with more members
// than partitions has nothing for some of them, so whoever never had one is not counted, and nobody is counted twice
// for one time of being thrown out: the next session begins with nothing to count.
type absence struct {
	within time.Duration
	since  time.Time // zero when there is nothing to count
}

// begin counts from now on: the member was thrown out.
func (a *absence) begin(now time.Time) { a.since = now }

// end counts no more: there are partitions again.
func (a *absence) end() { a.since = time.Time{} }

// tooLong reports whether it has lasted too long. While no broker can be reached no group gives anything, so the count
// begins again with each look.
func (a *absence) tooLong(now time.Time, reachable bool) bool {
	switch {
	case a.since.IsZero():
		return false
	case !reachable:
		a.since = now
		return false
	default:
		return now.Sub(a.since) >= a.within
	}
}

// checkAbsence ends the session of a member that got nothing back. The poller calls it between two polls.
func (s *session) checkAbsence() {
	if s.absence.tooLong(time.Now(), s.ready.reachable()) {
		s.ready.joined(false) // leaving takes its time
		s.fail(errUnassigned)
	}
}
