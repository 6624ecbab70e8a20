package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// view is what a person sees of a platform that runs: a page at start, then a line for each change.
type view struct {
	out    io.Writer
	report func(context.Context) control.Report
	p      *message.Printer
	last   map[string]lifecycle.Status // as it was told
	now    map[string]lifecycle.Status // as it was at the last look
}

func newView(out io.Writer, report func(context.Context) control.Report) *view {
	return &view{
		out: out, report: report, p: message.NewPrinter(language.English),
		last: map[string]lifecycle.Status{}, now: map[string]lifecycle.Status{},
	}
}

// nouns is what each service counts.
var nouns = map[string]string{"users": "users", "directory": "people", "audit": "events", "mailer": "messages"}

// joinTime is how long the first page waits for the services to have joined their consumer groups, which takes a
// fraction of a second where there is a broker.
const joinTime = 3 * time.Second

// settled returns the first report in which every service has its bus, or the last one before joinTime is over.
func (v *view) settled(ctx context.Context) control.Report {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		r := v.report(context.WithoutCancel(ctx))
		if !slices.ContainsFunc(r.Services, func(s lifecycle.Status) bool { return !s.Bus }) {
			return r
		}
		select {
		case <-ctx.Done():
			return r
		case <-ticker.C:
		}
	}
}

// welcome says what runs, where, and what to type next.
func (v *view) welcome(ctx context.Context, controlAddress, logFile string) {
	r := v.settled(ctx)
	kind := "the broker at " + r.Bus.URL
	if r.Bus.Embedded {
		kind = "a broker inside this process at " + r.Bus.URL + " (for first runs, tests and laptops)"
	}
	fmt.Fprintf(v.out, "bus        %s\n           %s\n", kind, r.Bus.Guarantees)
	door := ""
	for _, s := range r.Services {
		v.last[s.Service], v.now[s.Service] = s, s
		fmt.Fprintf(v.out, "%-10s %s, %s\n", s.Service, s.Address, v.line(s))
		if s.Door != "" {
			door = s.Door
		}
	}
	fmt.Fprintf(v.out, "door       http://%s/v1/users\n", door)
	fmt.Fprintf(v.out, "data       %s, log in %s\n", r.Data, logFile)
	fmt.Fprintf(v.out, "join       another process passes --bus %s --topic %s\n", r.Bus.URL, r.Bus.Topic)
	flags := ""
	if controlAddress != "127.0.0.1:8479" {
		flags = " --control " + controlAddress
	}
	if flags == "" {
		fmt.Fprintf(v.out, "next       in a second terminal:\n")
	} else {
		fmt.Fprintf(v.out, "control    %s\nnext       in a second terminal:\n", controlAddress)
	}
	fmt.Fprintf(v.out, "           go run ./services/tidings import --sample 10000%s\n", doorFlag(door))
	fmt.Fprintf(v.out, "           go run ./services/tidings status%s\n", flags)
	fmt.Fprintf(v.out, "           Ctrl-C here stops; the data stays\n")
}

func doorFlag(door string) string {
	if door == "127.0.0.1:8480" {
		return ""
	}
	return " --door http://" + door
}

// line is how a service is, in a few words.
func (v *view) line(s lifecycle.Status) string {
	text := string(s.State)
	if s.State == lifecycle.Serving {
		text += ", " + v.p.Sprintf("%d", s.Count) + " " + nouns[s.Service] + v.behind(s)
	}
	if s.Error != "" {
		text += ": " + s.Error
	}
	return text
}

func (v *view) behind(s lifecycle.Status) string {
	switch {
	case s.Service == control.Owner && s.Outbox != nil && s.Outbox.Unsent > 0:
		return v.p.Sprintf(", %d events to send", s.Outbox.Unsent)
	case s.Service == control.Owner:
		return ""
	case !s.Bus:
		return ", no bus"
	case s.Lag < 0:
		return ", lag unknown"
	}
	return v.p.Sprintf(", lag %d", s.Lag)
}

// Changes are looked for twice a second, and less often where looking takes long: services count what they hold, which
// with a million users is a tenth of a second each.
const (
	lookEvery = 500 * time.Millisecond
	lookShare = 20 // the part of the time that may be spent on looking is one in so many
)

// follow writes a line for each change until ctx ends.
func (v *view) follow(ctx context.Context) error {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			began := time.Now()
			v.look(ctx)
			timer.Reset(max(lookEvery, lookShare*time.Since(began)))
		}
	}
}

// look tells a change of state or bus at once, and a change of numbers when they have come to rest.
func (v *view) look(ctx context.Context) {
	r := v.report(ctx)
	if ctx.Err() != nil {
		return
	}
	for _, s := range r.Services {
		before, told := v.now[s.Service], v.last[s.Service]
		v.now[s.Service] = s
		if sameState(s, told) && (v.line(s) == v.line(told) || v.line(s) != v.line(before)) {
			continue
		}
		v.last[s.Service] = s
		fmt.Fprintf(v.out, "%s   %-10s %s\n", time.Now().Format(time.TimeOnly), s.Service, v.line(s))
	}
}

func sameState(a, b lifecycle.Status) bool {
	return a.State == b.State && a.Bus == b.Bus && a.Error == b.Error
}
