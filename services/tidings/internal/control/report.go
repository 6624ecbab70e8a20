package control

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// Report says how the platform is.
type Report struct {
	Bus      Bus                `json:"bus"`
	Data     string             `json:"data"` // the folder that holds the databases
	Services []lifecycle.Status `json:"services"`
	// Quiet says that the owner wrote nothing while the services were asked one after another. Only then can their
	// numbers be compared.
	Quiet bool `json:"quiet"`
}

// Bus says what the services are connected to.
type Bus struct {
	URL        string `json:"url"`      // what another process passes as --bus
	Embedded   bool   `json:"embedded"` // the broker runs inside the platform
	Guarantees string `json:"guarantees"`
	Topic      string `json:"topic"`
}

// Owner is the service that numbers the versions that the others are compared with.
const Owner = "users"

// Service returns the status of the service of that name.
func (r Report) Service(name string) (lifecycle.Status, bool) {
	for _, s := range r.Services {
		if s.Service == name {
			return s, true
		}
	}
	return lifecycle.Status{}, false
}

// Disagreements names every service that has other keys or versions than the owner although nothing is on its way to
// it. A service that is stopped, or still behind, is not compared.
func (r Report) Disagreements() []string {
	owner, ok := r.Service(Owner)
	if !ok || !r.Quiet || owner.State != lifecycle.Serving || owner.Outbox == nil || owner.Outbox.Unsent > 0 {
		return nil
	}
	var found []string
	for _, s := range r.Services {
		if s.Service == Owner || s.State != lifecycle.Serving || s.Lag != 0 {
			continue
		}
		if s.Keys != owner.Keys || s.Versions != owner.Versions {
			found = append(found, fmt.Sprintf("%s has %d keys and %d versions, %s %d and %d, and nothing is on its way",
				s.Service, s.Keys, s.Versions, Owner, owner.Keys, owner.Versions))
		}
	}
	return found
}

// Write prints r as a table for people.
func (r Report) Write(w io.Writer) error {
	p := message.NewPrinter(language.English)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "service\tstate\tcount\tkeys\tversions\tposition\tlag\t")
	for _, s := range r.Services {
		fmt.Fprintf(t, "%s\t%s\t%s\t\n", s.Service, state(s), numbers(p, s))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.writeNotes(w)
}

// numbers are the columns of one service; of one that is stopped nothing is known.
func numbers(p *message.Printer, s lifecycle.Status) string {
	if s.State != lifecycle.Serving {
		return strings.Repeat("-\t", 4) + "-"
	}
	lag, position := p.Sprint(s.Lag), p.Sprint(position(s))
	switch {
	case s.Service == Owner:
		lag, position = "-", "-"
	case s.Lag < 0:
		lag = "?"
	}
	return strings.Join([]string{p.Sprint(s.Count), p.Sprint(s.Keys), p.Sprint(s.Versions), position, lag}, "\t")
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
func (r Report) writeNotes(w io.Writer) error {
	var notes []string
	for _, s := range r.Services {
		notes = append(notes, serviceNotes(s)...)
	}
	notes = append(notes, r.Disagreements()...)
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return err
		}
	}
	return nil
}

func serviceNotes(s lifecycle.Status) []string {
	var notes []string
	add := func(n int64, what string) {
		if n > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d %s", s.Service, n, what))
		}
	}
	if s.Outbox != nil {
		add(s.Outbox.Unsent, "events not yet sent")
	}
	add(s.Parked, "parked")
	add(s.Dead, "dead")
	add(s.Missing, "missing")
	if s.Error != "" {
		notes = append(notes, s.Service+": "+s.Error)
	}
	return notes
}
