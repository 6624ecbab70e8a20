package kafka

import (
	"testing"
	"time"
)

// look is what a poller does or sees at a moment, in seconds.
type look struct {
	at      int
	lost    bool // it is thrown out
	given   bool // it is given partitions
	away    bool // no broker can be reached
	tooLong bool
}

func TestAnAbsenceIsCountedFromBeingThrownOutToBeingGivenPartitions(t *testing.T) {
	for name, looks := range map[string][]look{
		"never thrown out":         {{at: 0}, {at: 1000}},
		"back in time":             {{at: 0, lost: true}, {at: 9}, {at: 9, given: true}, {at: 10}, {at: 1000}},
		"not back":                 {{at: 0, lost: true}, {at: 9}, {at: 10, tooLong: true}},
		"thrown out again":         {{at: 0, lost: true}, {at: 9, lost: true}, {at: 18}, {at: 19, tooLong: true}},
		"back, and out once more":  {{at: 0, lost: true}, {at: 5, given: true}, {at: 8, lost: true}, {at: 17}, {at: 18, tooLong: true}},
		"the broker is away":       {{at: 0, lost: true}, {at: 9, away: true}, {at: 50, away: true}, {at: 59}, {at: 60, tooLong: true}},
		"away at the bound itself": {{at: 0, lost: true}, {at: 10, away: true}, {at: 19}, {at: 20, tooLong: true}},
		"away, and back in time":   {{at: 0, lost: true}, {at: 500, away: true}, {at: 502, given: true}, {at: 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			a := absence{within: 10 * time.Second}
			start := time.Now()
			for _, l := range looks {
				now := start.Add(time.Duration(l.at) * time.Second)
				if l.lost {
					a.begin(now)
				}
				if l.given {
					a.end()
				}
				if got := a.tooLong(now, !l.away); got != l.tooLong {
					t.Errorf("after %d s: %v", l.at, got)
				}
			}
		})
	}
}
