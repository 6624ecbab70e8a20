package lab

import (
	"encoding/json"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Report is what came out, bus by bus.
type Report struct {
	Users int       `json:"users"` // that were written while directory was down, and as many again after it
	Buses []Outcome `json:"buses"`
}

// Outcome is what came out on one bus.
type Outcome struct {
	Bus        string `json:"bus"`      // "kafka" or "redis"
	Embedded   bool   `json:"embedded"` // the server was one inside the process
	URL        string `json:"url"`      // of the server, with secrets hidden
	Guarantees string `json:"guarantees"`
	// KeepsLog says what was promised: with a log nobody misses anything, without one whoever does counts it.
	KeepsLog bool `json:"keeps_log"`

	Written   int `json:"written"`            // users, in all
	WhileDown int `json:"written_while_down"` // of them while directory was down
	Missed    int `json:"missed"`             // of Written, by what directory holds in the end
	Counted   int `json:"counted"`            // how many directory itself says it missed
	// CaughtUp is how long directory took from its start until it held all that was written while it was down, in
	// seconds; nil is never.
	CaughtUp *float64 `json:"caught_up_seconds"`
	// NewcomerReceived is how many of Written a brand-new service holds.
	NewcomerReceived int `json:"newcomer_received"`
}

// name is the bus's for people; one that nobody knows has its own.
func (o Outcome) name() string {
	for _, k := range kinds() {
		if k.id == o.Bus {
			return k.name
		}
	}
	return o.Bus
}

// Server says what was measured against.
func (o Outcome) Server() string {
	if o.Embedded {
		return "a server inside this process at " + o.URL + ", for first runs and tests"
	}
	return "the server at " + o.URL
}

// faults says in which ways the bus did not do what it promises.
func (o Outcome) faults(p *message.Printer) []string {
	var all []string
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			all = append(all, o.name()+": "+p.Sprintf(format, args...))
		}
	}
	add(o.KeepsLog && o.Missed != 0, "directory missed %d of %d users, and was to miss none", o.Missed, o.Written)
	add(o.KeepsLog && o.CaughtUp == nil, "directory did not catch up after its restart")
	add(o.KeepsLog && o.NewcomerReceived != o.Written,
		"a brand-new service received %d of %d users, and was to receive all", o.NewcomerReceived, o.Written)
	add(!o.KeepsLog && o.Counted != o.Missed, "directory missed %d users, and counted %d", o.Missed, o.Counted)
	return all
}

// Faults says in which ways a bus did not do what it promises; nil when all is as it should be. With a log nobody may
// miss anything; without one, what is missed must have been counted to the unit.
func (r Report) Faults() []string {
	var all []string
	for _, o := range r.Buses {
		all = append(all, o.faults(message.NewPrinter(language.English))...)
	}
	return all
}

// Conclusion is what to learn from it, in one line.
func (r Report) Conclusion() string {
	if faults := r.Faults(); faults != nil {
		return "this is not as it should be: " + strings.Join(faults, "; ")
	}
	p := message.NewPrinter(language.English)
	var parts []string
	for _, o := range r.Buses {
		parts = append(parts, o.name()+" "+o.conclusion(p))
	}
	return strings.Join(parts, " ")
}

// conclusion is a sentence on a bus that did what it promises. It says what the numbers say, and not what was expected:
// a Redis may lose nothing, if nobody stops anything for long enough.
func (o Outcome) conclusion(p *message.Printer) string {
	switch {
	case o.KeepsLog:
		return "lost nothing: who was away, or new, read it later."
	case o.Missed == 0:
		return p.Sprintf("happened to lose nothing to directory; a new service has %d of %d.", o.NewcomerReceived, o.Written)
	}
	return p.Sprintf("lost %d of %d for ever, and directory knew exactly how many.", o.Missed, o.Written)
}

// MarshalJSON adds the conclusion and the faults, for who reads the JSON by a program.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	faults := r.Faults()
	if faults == nil { // a list in any case: no null to provide for
		faults = []string{}
	}
	return json.Marshal(struct {
		plain
		Conclusion string   `json:"conclusion"`
		Faults     []string `json:"faults"`
	}{plain(r), r.Conclusion(), faults})
}
