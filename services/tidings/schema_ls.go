package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/announce"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemadoc"
)

type schemaLs struct {
	controlFlag
	Bus   string        `help:"Show what is announced on this bus: kafka://host:port or redis://host:port. The default is that of the platform that runs in another terminal, if one does." placeholder:"URL"`
	Topic string        `help:"Topic of users' events." default:"${topic}"`
	For   time.Duration `name:"for" help:"How long to listen on a bus that keeps nothing." default:"5s" env:"-"`
	JSON  bool          `name:"json" help:"Print one JSON object." env:"-"`
}

// Validate is called by the parser.
func (c *schemaLs) Validate() error {
	if c.For <= announce.ListenInterval {
		return fmt.Errorf("--for %v: pass a time above the %v in which each says once that it is there, such as 5s", c.For, announce.ListenInterval)
	}
	return nil
}

func (c *schemaLs) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	contracts, err := schemadoc.Load()
	if err != nil {
		return err
	}
	heard, err := c.hear(ctx)
	if err != nil {
		return err
	}
	l := contracts.List(declared(), heard)
	if c.JSON {
		return printJSON(in.Stdout, l)
	}
	return printListing(in.Stdout, l, time.Now(), c.Control)
}

// hear looks for announcements; nil where there is no bus to look on.
func (c *schemaLs) hear(ctx context.Context) (heard *schemadoc.Bus, err error) {
	switch c.Bus {
	case "kafka":
		c.Bus = config.EmbeddedKafka
	case "redis":
		c.Bus = config.EmbeddedRedis
	case "":
		report, err := control.Client{Address: c.Control}.Report(ctx)
		if err != nil {
			return nil, ctx.Err() // none runs
		}
		c.Bus, c.Topic = report.Bus.URL, report.Bus.Topic
	}
	b, err := backends.Open(ctx, c.Bus, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, config.Usage("--bus: %w", err)
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	ctx, cancel := context.WithTimeout(ctx, askTime+c.For)
	defer cancel()
	said, err := announce.List(ctx, b, c.Topic, c.For)
	if err != nil {
		return nil, fmt.Errorf("what is announced on %s can't be read; pass another --bus: %w", config.Redact(c.Bus), err)
	}
	heard = &schemadoc.Bus{URL: config.Redact(c.Bus), Topic: c.Topic, KeepsLog: bus.KeepsLog(b), Spoken: []schemadoc.Spoken{}}
	for _, a := range said {
		heard.Spoken = append(heard.Spoken, schemadoc.Spoken{Announcement: a, Silent: a.Silent(time.Now()), Formerly: a.Formerly})
	}
	return heard, nil
}

func printListing(w io.Writer, l schemadoc.Listing, now time.Time, door string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "type\tsince\tpublished by\tread by")
	for _, e := range l.Types {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.Type, e.Since, orNobody(e.Publishes), orNobody(e.Reads))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if l.Bus == nil {
		_, err := fmt.Fprintf(w, "\nThat is what the services of this release say of themselves. Who else reads them is announced on the bus:\n"+
			"pass --bus, or start a platform, for none answers at %s.\n", door)
		return err
	}
	return printHeard(w, l, now)
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ", ")
}

// printHeard is what was announced, and what follows from it for each version of the events.
func printHeard(w io.Writer, l schemadoc.Listing, now time.Time) error {
	fmt.Fprintf(w, "\nannounced on %s, topic %s\n", l.Bus.URL, announce.Topic(l.Bus.Topic))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range l.Bus.Spoken {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", s.Group, s.Role, packagesOf(s.Types), s.Release, lastWord(s, now))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(l.Bus.Spoken) == 0 {
		fmt.Fprintln(w, "  nothing")
	}
	fmt.Fprintln(w)
	for _, p := range l.Packages {
		if _, err := fmt.Fprintln(w, verdict(p, l.Bus)); err != nil {
			return err
		}
	}
	return nil
}

// packagesOf are the packages of types, each once: a reader mostly reads all or none of one.
func packagesOf(types []string) string {
	var packages []string
	for _, typ := range types {
		pkg := "whatever comes"
		if i := strings.LastIndexByte(typ, '.'); i >= 0 {
			pkg = typ[:i]
		}
		if n := len(packages); n == 0 || packages[n-1] != pkg {
			packages = append(packages, pkg)
		}
	}
	return orNobody(packages)
}

func lastWord(s schemadoc.Spoken, now time.Time) string {
	if s.Silent {
		return "silent since " + moment(s.Time)
	}
	return max(0, now.Sub(s.Time)).Round(time.Second).String() + " ago"
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// verdict is what somebody needs to know who wants to stop a version of the events.
func verdict(p schemadoc.Package, heard *schemadoc.Bus) string {
	text := p.Package + ": "
	switch {
	case len(p.Reads) > 0:
		text += "read by " + strings.Join(p.Reads, ", ")
	case len(p.Silent) > 0:
		text += "nobody has said of late that it reads it"
	case p.LastRead != nil:
		text += "nobody has said that it reads it since " + moment(*p.LastRead)
	case heard.KeepsLog:
		text += "nobody has ever said that it reads it, as far as the topic has it"
	default:
		text += "nobody says that it reads it; this bus keeps nothing, so who is down is not heard"
	}
	if len(p.Silent) > 0 {
		text += "; " + strings.Join(p.Silent, ", ") + " said so and " + isOrAre(p.Silent) + " silent now, and will read it when back"
	}
	switch {
	case len(p.NeededBy) > 0:
		text += "; " + strings.Join(p.NeededBy, ", ") + " can do with no other version"
	case len(p.Reads)+len(p.Silent) > 0:
		text += "; all can do with another version"
	}
	if len(p.Any) > 0 {
		text += "; " + strings.Join(p.Any, ", ") + " takes whatever comes"
	}
	if len(p.Publishes) == 0 {
		text += "; nobody publishes it"
	}
	return text
}

func isOrAre(names []string) string {
	if len(names) == 1 {
		return "is"
	}
	return "are"
}
