package soak

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is a kind of trouble.
type Fault string

// The faults. Those of a broker need one that is a process of the run's own, those of connections one that a proxy
// stands before.
const (
	Kill         Fault = "kill"          // a service, by SIGKILL; it is started again
	Stop         Fault = "stop"          // a service, in order; it is started again
	Pause        Fault = "pause"         // a service, by SIGSTOP
	KillBroker   Fault = "kill broker"   // by SIGKILL
	KillBrokers  Fault = "kill brokers"  // two of three at once, so that nothing can be written until one is back
	PauseBroker  Fault = "pause broker"  // by SIGSTOP
	Cut          Fault = "cut"           // connections are reset, and new ones refused
	Slow         Fault = "slow"          // every chunk of bytes comes late
	Silence      Fault = "silence"       // nothing arrives, and nobody is told
	Lock         Fault = "lock"          // of a whole database (SQLite), of its tables (Postgres)
	EndSessions  Fault = "end sessions"  // of a service at Postgres, as an administrator would
	RefuseMails  Fault = "refuse mails"  // for now, by 451
	Repeat       Fault = "repeat"        // old records of the topic are published again
	SpoilRecords Fault = "spoil records" // garbage is published
)

// trait is what a plan has to know of a fault.
type trait struct {
	fault    Fault
	weight   int           // how often it comes, against the others
	min, max time.Duration // how long it lasts; zero for what is over at once
	// alone names a resource that is the fault's own while it lasts, instead of the target: two brokers of three that
	// are away at once, by two faults, would be another fault.
	alone string
	// after is how long whoever was befallen is left in peace: a cluster that is never whole tells little of what is
	// behind it.
	after time.Duration
}

// traits are in a fixed order, for a plan hangs on it.
var traits = [...]trait{
	{Kill, 6, 200 * time.Millisecond, 4 * time.Second, "", time.Second},
	{Stop, 1, 200 * time.Millisecond, 3 * time.Second, "", time.Second},
	{Pause, 3, 500 * time.Millisecond, 14 * time.Second, "", time.Second},
	{KillBroker, 3, time.Second, 10 * time.Second, "brokers", 5 * time.Second},
	{KillBrokers, 1, time.Second, 8 * time.Second, "brokers", 5 * time.Second},
	{PauseBroker, 2, time.Second, 8 * time.Second, "brokers", 5 * time.Second},
	{Cut, 3, 500 * time.Millisecond, 8 * time.Second, "", time.Second},
	{Slow, 2, time.Second, 8 * time.Second, "", time.Second},
	{Silence, 3, time.Second, 12 * time.Second, "", time.Second},
	{Lock, 2, 200 * time.Millisecond, 6 * time.Second, "", time.Second},
	{EndSessions, 2, 0, 0, "", time.Second},
	{RefuseMails, 1, time.Second, 5 * time.Second, "", time.Second},
	{Repeat, 4, 0, 0, "", time.Second},
	{SpoilRecords, 3, 0, 0, "", time.Second},
}

// Targets is what each fault can befall, by name. A fault without a target is in no plan.
type Targets map[Fault][]string

// Step is one fault: when it begins, after the run's start, what it befalls, and for how long.
type Step struct {
	At     time.Duration
	Fault  Fault
	Target string
	For    time.Duration
}

// String is a line for people.
func (s Step) String() string {
	text := fmt.Sprintf("%6.1fs  %-13s  %s", s.At.Seconds(), s.Fault, s.Target)
	if s.For > 0 {
		text += fmt.Sprintf("  for %.1f s", s.For.Seconds())
	}
	return text
}

// Plan is what a nemesis is to do, in order of time.
type Plan []Step

// String is a line a step.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// NewPlan makes the plan of a seed: the same for the same seed, length and targets. Every fault that has a target comes
// at least once where length allows it, no two of them befall one target at a time, and all are over by the end.
func NewPlan(seed uint64, length time.Duration, targets Targets) Plan {
	p := planner{rng: rand.New(rand.NewPCG(seed, 0x736f616b)), targets: targets, busy: map[string]time.Duration{}}
	gap := min(max(length/40, 150*time.Millisecond), 1200*time.Millisecond) // between two steps, on average
	var plan Plan
	for at := gap; at < length-gap; at += gap/2 + time.Duration(p.rng.Int64N(int64(gap))) {
		if s, ok := p.step(at.Truncate(10*time.Millisecond), length); ok {
			plan = append(plan, s)
		}
	}
	return plan
}

// planner is a plan in the making.
type planner struct {
	rng     *rand.Rand
	targets Targets
	bag     []trait                  // those that are still to come in this round
	busy    map[string]time.Duration // until when something is a fault's own
}

// step draws a fault that begins at at; none where everything that it could befall is taken.
func (p *planner) step(at, length time.Duration) (Step, bool) {
	if len(p.bag) == 0 {
		p.fill()
	}
	for i, t := range p.bag {
		names := slices.Clone(p.targets[t.fault])
		p.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			own := cmp.Or(t.alone, name)
			if p.busy[own] > at {
				continue
			}
			s := Step{At: at, Fault: t.fault, Target: name, For: p.lasts(t, length-at, length)}
			p.busy[own] = at + s.For + min(t.after, length/8)
			p.bag = slices.Delete(p.bag, i, i+1)
			return s, true
		}
	}
	return Step{}, false
}

// lasts draws how long a fault lasts: mostly short, at most a third of the whole.
func (p *planner) lasts(t trait, left, length time.Duration) time.Duration {
	if t.max == 0 {
		return 0
	}
	longest := min(t.max, length/3, left)
	d := t.min + time.Duration(p.rng.Float64()*p.rng.Float64()*float64(max(longest-t.min, 0)))
	return min(d, left).Truncate(10 * time.Millisecond)
}

// fill begins a round: each fault once, in any order, then the rest by weight.
func (p *planner) fill() {
	var rest []trait
	for _, t := range traits {
		if len(p.targets[t.fault]) == 0 {
			continue
		}
		p.bag = append(p.bag, t)
		for range t.weight - 1 {
			rest = append(rest, t)
		}
	}
	p.rng.Shuffle(len(p.bag), func(i, j int) { p.bag[i], p.bag[j] = p.bag[j], p.bag[i] })
	p.rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	p.bag = append(p.bag, rest...)
}
