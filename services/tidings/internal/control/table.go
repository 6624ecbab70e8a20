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
		at, left = number(p, s), p.Sprint(s.Missed)
		if s.Service == Owner {
			left = "-"
		}
	case s.Service == Owner:
		at, left = "-", "-"
	case s.Lag < 0:
		left = "?"
	}
	return strings.Join([]string{p.Sprint(s.Count), p.Sprint(s.Keys), p.Sprint(s.Versions), at, left}, "\t")
}

// number is the highest number of an event that a service has given out or heard of; "?" where it has heard of none.
func number(p *message.Printer, s lifecycle.Status) string {
	if len(s.Streams) == 0 {
		return "?"
	}
	return p.Sprint(s.Seq)
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
	if s.State == lifecycle.Serving && !s.Bus && s.Service != Owner {
		return "serving, no bus"
	}
	return string(s.State)
}

// writeNotes adds a line for everything that the table has no column for.
func (r Report) writeNotes(w io.Writer, p *message.Printer) error {
	var notes []string
	for _, s := range r.Services {
		notes = append(notes, serviceNotes(p, s)...)
		if n := r.unheard(s); n > 0 {
			notes = append(notes, fmt.Sprintf("%s: %s not heard of yet: users repeats its last number every few seconds, and what was missed is counted then",
				s.Service, many(p, n, "number")))
		}
	}
	notes = append(notes, r.Disagreements()...)
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return err
		}
	}
	return nil
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
	add(gap(p, s))
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
	return "among what it missed: " + many(p, s.Missing, "version") + " of users that it knows"
}

// gap says what was lost last, and when; "" if nothing was since the service was started.
func gap(p *message.Printer, s lifecycle.Status) string {
	if s.Gap == nil {
		return ""
	}
	what := "events may have been missed"
	if s.Gap.Missed > 0 {
		what = "missed " + many(p, s.Gap.Missed, "event")
	}
	return fmt.Sprintf("last loss noticed at %s: %s: %s", s.Gap.Time.Format(time.TimeOnly), what, s.Gap.Reason)
}
