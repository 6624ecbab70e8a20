package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// view is what a person sees of a platform that runs: a page at start, then a line for each change. Changes of state
// are news, which come by themselves and are told at once; numbers, and whether there is a bus, it has to look for.
type view struct {
	out    io.Writer
	report func(context.Context) control.Report
	clock  func() time.Time
	news   *news
	p      *message.Printer
	told   map[string]told
	now    map[string]string // the line of each service at the last look
	owner  lifecycle.Status  // at the last look; its numbers are what the others' are counted by
}

// told is what was last said of a service.
type told struct {
	lifecycle.Status
	line string
}

func newView(out io.Writer) *view {
	return &view{
		out: out, clock: time.Now, news: newNews(), p: message.NewPrinter(language.English),
		told: map[string]told{}, now: map[string]string{},
	}
}

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
		v.news.take() // the report knows
		r := v.report(context.WithoutCancel(ctx))
		if !slices.ContainsFunc(r.Services, func(s lifecycle.Status) bool { return s.State == lifecycle.Serving && !s.Bus }) {
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
	v.welcomeBus(r)
	v.owner, _ = r.Service(control.Owner)
	door := ""
	for _, s := range r.Services {
		line := v.line(s)
		v.told[s.Service], v.now[s.Service] = told{s, line}, line
		if s.Address != "" {
			line = s.Address + ", " + line
		}
		fmt.Fprintf(v.out, "%-10s %s\n", s.Service, line)
		if s.Door != "" {
			door = s.Door
		}
	}
	if door != "" {
		fmt.Fprintf(v.out, "door       http://%s/v1/users\n", door)
	}
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

// welcomeBus says what the bus is, and what it does without. What it promises is looked at once the topic can be asked
// for.
func (v *view) welcomeBus(r control.Report) {
	server := "broker"
	if !r.Bus.KeepsLog {
		server = "PubSub server"
	}
	kind := "the " + server + " at " + r.Bus.URL
	if r.Bus.Embedded {
		kind = "a " + server + " inside this process at " + r.Bus.URL + " (for first runs, tests and laptops)"
	}
	guarantees := r.Bus.Guarantees
	if r.Bus.Without != "" {
		guarantees += "; not " + r.Bus.Without
	}
	// On a bus without a log an owner only finds out by sending, and counts as connected before.
	answers := func(s lifecycle.Status) bool { return s.Bus && (r.Bus.KeepsLog || s.Service != control.Owner) }
	if !slices.ContainsFunc(r.Services, answers) {
		guarantees += " (as configured: the bus does not answer yet)"
	}
	fmt.Fprintf(v.out, "bus        %s\n           %s\n", kind, guarantees)
	if !r.Bus.KeepsLog && r.Bus.Guarantees != "" {
		fmt.Fprintln(v.out, "           nothing is kept for a service that is down or new: what it misses is counted, and stays missed")
	}
}

func doorFlag(door string) string {
	if door == "" || door == "127.0.0.1:8480" {
		return ""
	}
	return " --door http://" + door
}

// Numbers are looked for twice a second, and less often where looking takes long: services count their marks, which
// with a million users is a tenth of a second each, and without a broker the lag is waited for.
const (
	lookEvery  = 500 * time.Millisecond
	lookSeldom = 2 * time.Second
	lookShare  = 20 // the part of the time that may be spent on looking is one in so many, up to lookSeldom
)

func pause(look time.Duration) time.Duration {
	return min(max(lookEvery, lookShare*look), lookSeldom)
}

// follow writes a line for each change until ctx ends. Looking goes on beside it, so that news never wait for a look.
func (v *view) follow(ctx context.Context) error {
	reports := make(chan control.Report)
	var looking sync.WaitGroup
	defer looking.Wait()
	looking.Go(func() { v.look(ctx, reports) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.news.more:
			for _, s := range v.news.take() {
				v.tellState(s)
			}
		case r := <-reports:
			v.tellNumbers(r)
		}
	}
}

// look sends a report after each pause until ctx ends.
func (v *view) look(ctx context.Context, reports chan<- control.Report) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		r := v.report(ctx)
		select {
		case <-ctx.Done():
			return
		case reports <- r:
		}
		timer.Reset(pause(time.Since(began)))
	}
}

// tellState tells a change of state. Starting and Stopping last for moments, and are taken in without a word.
func (v *view) tellState(s lifecycle.Status) {
	before := v.told[s.Service]
	switch {
	case s.State == before.State: // the first page said so
	case s.State == lifecycle.Serving:
		v.tell(s, string(s.State)) // its numbers come with the next look
	case s.State == lifecycle.Stopped, s.State == lifecycle.Failed:
		v.tell(s, v.line(s))
	default:
		v.told[s.Service] = told{s, before.line}
	}
}

// tellNumbers tells what a look has found: that the bus went or came at once, and numbers when they have come to rest.
func (v *view) tellNumbers(r control.Report) {
	v.owner, _ = r.Service(control.Owner)
	for _, s := range r.Services {
		said, line, before := v.told[s.Service], v.line(s), v.now[s.Service]
		v.now[s.Service] = line
		if s.State != lifecycle.Serving || said.State != lifecycle.Serving {
			continue // news of it have come or will
		}
		atOnce := s.Bus != said.Bus || s.Error != said.Error
		if line != said.line && (atOnce || line == before) {
			v.tell(s, line)
		}
	}
}

func (v *view) tell(s lifecycle.Status, line string) {
	v.told[s.Service] = told{s, line}
	fmt.Fprintf(v.out, "%s   %-10s %s\n", v.clock().Format(time.TimeOnly), s.Service, line)
}
