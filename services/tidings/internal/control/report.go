package control

import (
	"encoding/json"
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

// MarshalJSON adds the disagreements, for who reads the JSON by a program. Reading it back, they are worked out again.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	found := r.Disagreements()
	if found == nil {
		found = []string{}
	}
	return json.Marshal(struct {
		plain
		Disagreements []string `json:"disagreements"`
	}{plain(r), found})
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
	return r.writeNotes(w, p)
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
func (r Report) writeNotes(w io.Writer, p *message.Printer) error {
	var notes []string
	for _, s := range r.Services {
		notes = append(notes, serviceNotes(p, s)...)
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
	}
	add(Queued(p, s))
	count(s.Parked, "parked")
	count(s.Dead, "dead")
	count(s.Missing, "missing")
	for _, n := range s.Notes {
		add(n)
	}
	add(s.Error)
	return notes
}
