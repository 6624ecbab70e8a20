package bus

import "strings"

// Guarantees is what a backend promises, or what a handler can't do without.
type Guarantees struct {
	Durable      bool // an acknowledged event is stored, and waits for a consumer that is down
	Replayable   bool // the log is kept for ever and can be read again from its start
	Groups       bool // members of a group share the work: each event goes to one of them
	OrderedByKey bool // events of one key arrive in the order in which they were published
}

// Missing returns the guarantees in want that g lacks.
func (g Guarantees) Missing(want Guarantees) Guarantees {
	return Guarantees{
		Durable:      want.Durable && !g.Durable,
		Replayable:   want.Replayable && !g.Replayable,
		Groups:       want.Groups && !g.Groups,
		OrderedByKey: want.OrderedByKey && !g.OrderedByKey,
	}
}

// All is every guarantee there is; All().Missing and g.Missing(All()) list what a backend has and lacks.
func All() Guarantees {
	return Guarantees{Durable: true, Replayable: true, Groups: true, OrderedByKey: true}
}

// String names what is set: "durable, replayable, groups, ordered by key", or "none".
func (g Guarantees) String() string {
	var names []string
	for _, n := range []struct {
		set  bool
		name string
	}{
		{g.Durable, "durable"},
		{g.Replayable, "replayable"},
		{g.Groups, "groups"},
		{g.OrderedByKey, "ordered by key"},
	} {
		if n.set {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
