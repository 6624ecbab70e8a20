package control

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// printer writes numbers as people read them: 10,000.
func printer() *message.Printer { return message.NewPrinter(language.English) }

// Write prints r as a table for people.
func (r Report) Write(w io.Writer) error {
	p := printer()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "service\tstate\tcount\tkeys\tversions\t"+r.progressHeads())
	for _, s := range r.Services {
		fmt.Fprintf(t, "%s\t%s\t%s\t\n", s.Service, state(s), r.numbers(p, s))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.writeNotes(w, p)
}

// progressHeads are the heads of the two columns that tell how far a service is. Where the bus keeps no log there is no
// place in it, and nothing to catch up with: but events have numbers, and what was missed is counted.
func (r Report) progressHeads() string {
	if r.Bus.KeepsLog {
		return "position\tlag\t"
	}
	return "number\tmissed\t"
}

// numbers are the columns of one service; of one that is stopped nothing is known.
func (r Report) numbers(p *message.Printer, s lifecycle.Status) string {
	if s.State != lifecycle.Serving {
		return strings.Repeat("-\t", 4) + "-"
	}
	at, left := p.Sprint(position(s)), p.Sprint(s.Lag)
	switch {
	case !r.Bus.KeepsLog:
		at, left = r.progress(p, s)
	case s.Service == Owner:
		at, left = "-", "-"
	case s.Lag < 0:
		left = "?"
	}
	return strings.Join([]string{p.Sprint(s.Count), p.Sprint(s.Keys), p.Sprint(s.Versions), at, left}, "\t")
}

// progress is the highest number of the owner's events that a service has given out or heard of, "?" where it has heard of
// none, and how many of them it missed.
func (r Report) progress(p *message.Printer, s lifecycle.Status) (number, missed string) {
	owner, _ := r.Service(Owner)
	heard, ok := Heard(owner, s)
	number, missed = "?", p.Sprint(heard.Missed)
	if ok {
		number = p.Sprint(heard.Seq)
	}
	if s.Service == Owner {
		missed = "-"
	}
	return number, missed
}

// many counts things in words: "1 event", "1,000 events".
func many[N int64 | uint64](p *message.Printer, n N, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return p.Sprintf("%d %s", n, thing)
}

// position is how many offsets of the log, over all partitions, a service has behind it.
func position(s lifecycle.Status) int64 {
	var sum int64
	for _, at := range s.Positions {
		sum += at.Next
	}
	return sum
}

func state(s lifecycle.Status) string {
	if s.State == lifecycle.Serving && !s.Bus {
		return "serving, no bus"
	}
	return string(s.State)
}

// writeNotes adds a line for everything that the table has no column for.
func (r Report) writeNotes(w io.Writer, p *message.Printer) error {
	var notes []string
	for _, s := range r.Services {
		notes = append(notes, serviceNotes(p, s)...)
		notes = append(notes, r.numberNotes(p, s)...)
	}
	notes = append(notes, r.Disagreements()...)
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return err
		}
	}
	return nil
}

// numberNotes are about the numbers of events, on a bus that keeps no log.
func (r Report) numberNotes(p *message.Printer, s lifecycle.Status) (notes []string) {
	owner, _ := r.Service(Owner)
	add := func(note string) { notes = append(notes, s.Service+": "+note) }
	if s.Uncounted != nil && !r.UpToDate(s) { // who has heard the owner's number has counted
		add(gap(p, s.Uncounted))
	}
	if n := r.unheard(s); n > 0 {
		what := "what was missed is counted then"
		if _, known := Heard(owner, s); !known {
			what = "what it misses is counted from the first that it hears"
		}
		add(many(p, n, "event") + " not heard of yet: users repeats its last number every few seconds, and " + what)
	}
	for _, at := range others(owner, s) {
		add(p.Sprintf("on topic %s it also heard number %d, and missed %d, of another owner, or of users before its database was made anew",
			at.Topic, at.Seq, at.Missed))
	}
	return notes
}

// Queued says what the reactions are that a service still has to perform: "19,700 mails to send"; "" for none.
func Queued(p *message.Printer, s lifecycle.Status) string {
	what := "reactions to perform"
	if s.Service == "mailer" {
		what = "mails to send"
	}
	if s.Queued == 0 {
		return ""
	}
	return p.Sprintf("%d %s", s.Queued, what)
}

func serviceNotes(p *message.Printer, s lifecycle.Status) []string {
	var notes []string
	add := func(note string) {
		if note != "" {
			notes = append(notes, s.Service+": "+note)
		}
	}
	count := func(n int64, what string) {
		if n > 0 {
			add(p.Sprintf("%d %s", n, what))
		}
	}
	if s.Outbox != nil {
		count(s.Outbox.Unsent, "events not yet sent")
		if n := s.Outbox.Unheard; n > 0 {
			add(many(p, n, "event") + " sent while nobody at all was listening")
		}
	}
	add(Queued(p, s))
	if s.Waiting > 0 {
		add("waiting for versions that are missing: " + many(p, s.Waiting, "event"))
	}
	count(s.Parked, "parked")
	count(s.Dead, "dead")
	add(missing(p, s))
	add(gap(p, s.Gap))
	if s.BusError != "" {
		add("no bus: " + s.BusError)
	}
	for _, n := range s.Notes {
		add(n)
	}
	add(s.Error)
	return notes
}

// missing says what Status.Missing counts. Where events are missed as a matter of course, it is to be told apart from
// them: it is what could be seen of the loss in the histories of the keys that are known.
func missing(p *message.Printer, s lifecycle.Status) string {
	switch {
	case s.Missing == 0:
		return ""
	case s.KeepsLog:
		return p.Sprintf("%d missing", s.Missing)
	}
	one, more := "seen as a gap", "seen as gaps"
	where := " below a later version of the same user"
	if s.Service == "audit" {
		one, more, where = "on record as a hole", "on record as holes", ""
	}
	seen := "is " + one
	if s.Missing != 1 {
		seen = "are " + more
	}
	return "of what it missed, " + many(p, s.Missing, "version") + " " + seen + where
}

// gap says what was lost last, and when; "" if nothing was since the service was started.
func gap(p *message.Printer, g *lifecycle.Gap) string {
	if g == nil {
		return ""
	}
	what := "events may have been missed"
	if g.Missed > 0 {
		what = "missed " + many(p, g.Missed, "event")
	}
	return fmt.Sprintf("last loss noticed at %s: %s: %s", moment(g.Time, time.Now()), what, g.Reason)
}

// moment is the time of the day, with the date where that is not today's.
func moment(at, now time.Time) string {
	if at = at.Local(); at.Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}
