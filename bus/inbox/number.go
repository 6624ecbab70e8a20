package inbox

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

const (
	// maxSeq bounds the numbers that are counted, as maxVersion does versions.
	maxSeq = 1 << 48
	// maxRanges bounds the ranges that are kept of one stream, each a row: half a megabyte.
	maxRanges = 10_000
)

// size is how many there are in s.
func (s span) size() uint64 { return s.last - s.first + 1 }

// base is the first number of a new stream that is counted: the lowest that is heard of, or 1 where the group has
// followed an older numbering.
func (s *stream) base() uint64 {
	switch {
	case s.older:
		return 1
	case len(s.numbers) == 0:
		return s.lowest + 1
	case !s.beats:
		return s.numbers[0]
	}
	return min(s.numbers[0], s.lowest+1)
}

// count goes through the delivery's numbers, which are in order, and finds what they say is missing.
func (s *stream) count() {
	above, _ := slices.BinarySearch(s.numbers, s.old+1)
	s.late = s.numbers[:above]
	for _, n := range s.numbers[above:] {
		s.reach(n - 1)
		s.highest = n
	}
	s.reach(s.beat)
}

// reach hears that all numbers up to n were given out.
func (s *stream) reach(n uint64) {
	if n > s.highest {
		s.found = append(s.found, span{s.highest + 1, n})
		s.highest = n
	}
}

// missed is how many numbers the delivery has shown to be missing.
func (s *stream) missed() (n uint64) {
	for _, m := range s.found {
		n += m.size()
	}
	return n
}

// came is how many numbers that were missing have come late.
func (s *stream) came() (n uint64) {
	for _, c := range s.cuts {
		n += c.came
	}
	return n
}

// cutout is what late numbers make of a range that was missing.
type cutout struct {
	was  span
	left []span
	came uint64
}

// cutOut takes the numbers, which are in order, out of m.
func cutOut(m span, numbers []uint64) cutout {
	c := cutout{was: m}
	from, _ := slices.BinarySearch(numbers, m.first)
	next := m.first
	for _, n := range numbers[from:] {
		if n > m.last {
			break
		}
		if next < n {
			c.left = append(c.left, span{next, n - 1})
		}
		next = n + 1
		c.came++
	}
	if next <= m.last {
		c.left = append(c.left, span{next, m.last})
	}
	return c
}

// gap describes what a delivery has shown to be missing of s.
func (s *stream) gap() bus.Gap {
	g := bus.Gap{At: bus.Position{Topic: s.topic, Offset: -1}, Source: s.source, Missed: s.missed()}
	from, to := s.found[0].first, s.found[len(s.found)-1].last
	switch {
	case g.Missed == 1:
		g.Reason = fmt.Sprintf("number %d was not received", from)
	case len(s.found) == 1:
		g.Reason = fmt.Sprintf("numbers %d to %d were not received", from, to)
	default:
		g.Reason = fmt.Sprintf("%d of the numbers %d to %d were not received", g.Missed, from, to)
	}
	return g
}

// reportNumbers tells, once it is committed, what was missed and what has come after all.
func (a *attempt) reportNumbers(ctx context.Context) {
	for _, s := range a.streams {
		if n := s.came(); n > 0 {
			a.log.InfoContext(ctx, "events that were missing have come late", "topic", s.topic, "source", s.source, "events", n)
		}
		if s.foldedFirst {
			a.log.WarnContext(ctx, "so many events were missed that the oldest are kept as a count only, and stay in it should they come late",
				"topic", s.topic, "source", s.source, "ranges", maxRanges)
		}
		if len(s.found) == 0 {
			continue
		}
		g := s.gap()
		a.log.WarnContext(ctx, "events were missed", "topic", s.topic, "source", s.source, "missed", g.Missed, "reason", g.Reason)
		if a.cfg.OnGap != nil {
			a.cfg.OnGap(ctx, g)
		}
	}
	if a.tooHigh > 0 {
		a.log.WarnContext(ctx, "numbers of events are left out of the count, for they are too high to be true", "events", a.tooHigh, "above", uint64(maxSeq))
	}
}
