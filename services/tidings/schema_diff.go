package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemadoc"
)

type schemaDiff struct {
	From string `arg:"" optional:"" help:"A release, such as 0.1.0; the newest where none is named."`
	To   string `arg:"" optional:"" help:"A release, or today, which is what this program was built with." default:"today"`
	JSON bool   `name:"json" help:"Print one JSON object." env:"-"`
}

// difference is what --json prints.
type difference struct {
	From    string             `json:"from"`
	To      string             `json:"to"`
	Changes []schemadoc.Change `json:"changes"`
}

func (c *schemaDiff) run(_ context.Context, in program.IO, _ *kong.Context) error {
	contracts, err := schemadoc.Load()
	if err != nil {
		return err
	}
	from := contracts.Newest()
	if c.From != "" {
		if from, err = contracts.State(c.From); err != nil {
			return asUsage(err)
		}
	}
	to, err := contracts.State(c.To)
	if err != nil {
		return asUsage(err)
	}
	d := difference{from.Name, to.Name, schemadoc.Diff(from, to)}
	if c.JSON {
		d.Changes = append([]schemadoc.Change{}, d.Changes...)
		return printJSON(in.Stdout, d)
	}
	return d.print(in.Stdout)
}

// sign stands before what was added, removed or changed.
func sign(change string) string {
	switch change {
	case "added":
		return "+"
	case "removed":
		return "-"
	}
	return "~"
}

// print puts what is new with its whole below that, and indented.
func (d difference) print(w io.Writer) error {
	if len(d.Changes) == 0 {
		_, err := fmt.Fprintf(w, "nothing differs between %s and %s\n", d.From, d.To)
		return err
	}
	fmt.Fprintf(w, "from %s to %s\n", d.From, d.To)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range d.Changes {
		line := sign(c.Change) + " " + c.Kind + "\t" + c.Name
		if c.Within {
			line = "  " + line
		}
		if c.Detail != "" {
			line += "\t" + c.Detail
		}
		if c.Was != "" {
			line += ", was " + c.Was
		}
		fmt.Fprintln(t, line)
	}
	return t.Flush()
}
