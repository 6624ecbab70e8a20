package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/lab"
)

// labCommand has no --users: that is a variable of `up`, TIDINGS_USERS, for an address.
type labCommand struct {
	Count int    `short:"n" help:"Users that are written while directory is down, and as many again after it (default ${default})." default:"1000" placeholder:"N" env:"-"`
	JSON  bool   `name:"json" help:"Print one JSON object instead of a table."`
	Kafka string `help:"A real Kafka to take instead of one inside this process: kafka://host:9092." placeholder:"URL"`
	Redis string `help:"A real Redis to take instead of one inside this process: redis://host:6379/0." placeholder:"URL"`
}

// Validate is called by the parser.
func (c *labCommand) Validate() error {
	if c.Count < 1 || c.Count > lab.MaxUsers {
		return fmt.Errorf("--count %d: pass how many users to write, 1 to %d", c.Count, lab.MaxUsers)
	}
	return nil
}

// run shows on standard error how it goes, so that standard output has the result only.
func (c *labCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	shown := newLabDisplay(in.Stderr)
	report, err := lab.Run(ctx, lab.Config{
		Users: c.Count, Kafka: c.Kafka, Redis: c.Redis, Step: shown.step, Wrote: shown.wrote, Leaves: in.Leaves,
	})
	shown.finish()
	return c.end(in.Stdout, report, err)
}

// end prints what came out, also beside an error: what is done took long enough.
func (c *labCommand) end(w io.Writer, report lab.Report, err error) error {
	if err == nil {
		return c.print(w, report)
	}
	if len(report.Buses) > 0 {
		_ = c.print(w, report) // a fault stands in what is printed, too; err is why it is not all
	}
	return err
}

// print prints what came out. Its error says what is not as it should be, for which the exit code is 1.
func (c *labCommand) print(w io.Writer, report lab.Report) error {
	var err error
	if c.JSON {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		err = out.Encode(report)
	} else {
		err = report.Write(w)
	}
	if faults := report.Faults(); err == nil && faults != nil {
		err = errors.New("lab: " + strings.Join(faults, "; "))
	}
	return err
}

// labDisplay shows how the experiment goes: a line for each step, and on a terminal a bar while users are written. It
// is safe for concurrent use.
type labDisplay struct {
	out      io.Writer
	terminal bool

	mu  sync.Mutex
	bar *progressbar.ProgressBar // nil unless users are being written
}

func newLabDisplay(out io.Writer) *labDisplay {
	f, ok := out.(*os.File)
	return &labDisplay{out: out, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

func (d *labDisplay) step(bus, what string) {
	d.finish()
	fmt.Fprintf(d.out, "%-12s  %s\n", bus, what)
}

func (d *labDisplay) wrote(total int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar == nil {
		d.bar = newBar(d.out, int64(total), d.terminal)
		d.bar.Describe("writing")
	}
	_ = d.bar.Add(1) // a bar that can't be drawn is no reason to stop
}

// finish takes the bar away, if there is one.
func (d *labDisplay) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar != nil {
		_ = d.bar.Finish()
		d.bar = nil
	}
}
