package control

import (
	"fmt"
	"slices"

	"golang.org/x/text/message"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// UpToDate reports whether nothing that the owner has sent is still on its way to s: it has read the log to its end or,
// where the bus keeps none, has heard of the highest number that the owner gave out. What it missed on the way is
// another matter. It is false where that can't be known, as while the owner or s is stopped.
func (r Report) UpToDate(s lifecycle.Status) bool {
	owner, ok := r.Service(Owner)
	if !ok || owner.State != lifecycle.Serving || s.State != lifecycle.Serving || s.Waiting > 0 {
		return false
	}
	if s.Lag != lifecycle.UnknownLag || r.Bus.KeepsLog {
		return s.Lag == 0
	}
	for _, given := range owner.Streams {
		heard, known := stream(s, given)
		if !known || heard.Seq != given.Seq {
			return false
		}
	}
	return len(owner.Streams) > 0
}

// unheard is how many numbers the owner has sent that s has not heard of, on a bus that keeps no log; 0 where the owner,
// s or the bus is away, for then it is no wonder.
func (r Report) unheard(s lifecycle.Status) (n uint64) {
	owner, ok := r.Service(Owner)
	if !ok || r.Bus.KeepsLog || s.Service == Owner || !s.Bus || owner.Outbox == nil || owner.Outbox.Unsent > 0 {
		return 0
	}
	for _, given := range owner.Streams {
		if heard, _ := stream(s, given); heard.Seq < given.Seq {
			n += given.Seq - heard.Seq
		}
	}
	return n
}

// Heard is what s knows of the owner's numbers, the sum over its topics: First, the highest number Seq, and how many it
// missed. Channels are the server's, so that s may have heard the numbers of another owner too, and those are not
// counted. ok says that it has heard of the owner's; while the owner's are not known, all are taken.
func Heard(owner, s lifecycle.Status) (sum lifecycle.Stream, ok bool) {
	if len(owner.Streams) == 0 {
		sum = lifecycle.Stream{Seq: s.Seq, Missed: s.Missed}
		if n := len(s.Streams); n > 0 {
			sum.First = s.Streams[n-1].First
		}
		return sum, len(s.Streams) > 0
	}
	for _, given := range owner.Streams {
		if heard, known := stream(s, given); known {
			sum.First, sum.Seq, sum.Missed = sum.First+heard.First, sum.Seq+heard.Seq, sum.Missed+heard.Missed
			ok = true
		}
	}
	return sum, ok
}

// others is what s has heard of on the owner's topics that the owner, as its database is now, did not number.
func others(owner, s lifecycle.Status) (found []lifecycle.Stream) {
	for _, at := range s.Streams {
		same := func(given lifecycle.Stream) bool { return given.Topic == at.Topic }
		mine := func(given lifecycle.Stream) bool {
			return same(given) && given.Source == at.Source && given.Log == at.Log
		}
		if slices.ContainsFunc(owner.Streams, same) && !slices.ContainsFunc(owner.Streams, mine) {
			found = append(found, at)
		}
	}
	return found
}

// stream is what s knows of a numbering of the owner's.
func stream(s lifecycle.Status, of lifecycle.Stream) (lifecycle.Stream, bool) {
	i := slices.IndexFunc(s.Streams, func(at lifecycle.Stream) bool {
		return at.Topic == of.Topic && at.Source == of.Source && at.Log == of.Log
	})
	if i < 0 {
		return lifecycle.Stream{}, false
	}
	return s.Streams[i], true
}

// Disagreements names every service that has other keys or versions than the owner although nothing is on its way to
// it. A service that is stopped, or still behind, is not compared. On a bus that keeps no log each says whether what
// the service counts as missed explains it.
func (r Report) Disagreements() []string {
	owner, ok := r.Service(Owner)
	if !ok || !r.Quiet || owner.State != lifecycle.Serving || owner.Outbox == nil || owner.Outbox.Unsent > 0 {
		return nil
	}
	var found []string
	p := printer()
	for _, s := range r.Services {
		if s.Service == Owner || !r.UpToDate(s) || s.Keys == owner.Keys && s.Versions == owner.Versions {
			continue
		}
		has := p.Sprintf("%s has %d keys and %d versions, %s %d and %d", s.Service, s.Keys, s.Versions, Owner, owner.Keys, owner.Versions)
		found = append(found, has+r.reason(p, owner, s))
	}
	return found
}

// reason says why a service has less than the owner, where that is known.
func (r Report) reason(p *message.Printer, owner, s lifecycle.Status) string {
	if r.Bus.KeepsLog {
		return ", and nothing is on its way"
	}
	heard, _ := Heard(owner, s)
	missed, before := uint64(heard.Missed), toldBefore(owner, s)
	known := ""
	switch {
	case missed > 0 && before > 0:
		known = p.Sprintf("it missed %s, and %d more were sent before it first heard a number", many(p, missed, "event"), before)
	case missed > 0:
		known = "it missed " + many(p, missed, "event")
	case before > 0:
		known = "before it first heard a number, " + many(p, before, "event") + " had been sent"
	}
	// An event is one version of one key, so no more of either can be lacking than events.
	less := s.Keys <= owner.Keys && s.Versions <= owner.Versions
	if less && owner.Versions-s.Versions <= missed+before && uint64(owner.Keys-s.Keys) <= missed+before {
		return ": " + known + ", and this bus has kept nothing"
	}
	return unexplained(owner, s, known)
}

// unexplained is for a difference that no number of missed events accounts for.
func unexplained(owner, s lifecycle.Status, known string) string {
	switch {
	case len(others(owner, s)) > 0:
		return ": it heard another owner, or users before its database was made anew; give each owner a --topic of its own"
	case known == "":
		return ", and it knows of no event that it missed"
	}
	return fmt.Sprintf(", which is not explained by what it knows: %s", known)
}

// toldBefore is how many events of the owner's numberings were sent before s first heard a number.
func toldBefore(owner, s lifecycle.Status) (n uint64) {
	for _, given := range owner.Streams {
		if heard, known := stream(s, given); known && heard.First > 1 {
			n += heard.First - 1
		}
	}
	return n
}
