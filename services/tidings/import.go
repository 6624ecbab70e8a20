package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/importer"
)

type importCommand struct {
	File   string `arg:"" optional:"" help:"CSV whose first line names the columns email and name, or JSON lines with those members; - is standard input."`
	Sample int    `help:"Make N people up instead of reading a file." placeholder:"N"`
	Seed   uint64 `help:"Make the same people up as an earlier run, which printed its seed. 0 picks one." placeholder:"N"`
	Door   string `help:"Address of the write door." default:"http://127.0.0.1:8480" placeholder:"URL"`
	// Workers is small enough for the door's own limits, and shares commits well.
	Workers int           `help:"Requests at a time." default:"64"`
	Retry   time.Duration `help:"How long a door that can't be reached is tried before the import gives up." default:"30s"`
}

// Validate is called by the parser.
func (c *importCommand) Validate() error {
	switch {
	case c.Sample < 0:
		return fmt.Errorf("--sample %d: pass how many people to make up, 1 or more", c.Sample)
	case c.Workers < 1:
		return fmt.Errorf("--workers %d: pass 1 or more", c.Workers)
	case c.Retry <= 0:
		return fmt.Errorf("--retry %v: pass a time above 0, such as 30s", c.Retry)
	}
	return nil
}

// badRows is the exit code of an import that went through but for bad rows.
const badRows = 3

func (c *importCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	rows, total, closeInput, err := c.open(in)
	if err != nil {
		return err
	}
	defer closeInput()
	bar := newBar(in.Stderr, total)
	res, err := importer.Run(ctx, importer.Config{
		Door: c.Door, Rows: rows, Workers: c.Workers, Retry: c.Retry, BadFile: c.badFile(),
		Progress: func() { _ = bar.Add(1) }, // a bar that can't be drawn is no reason to stop
		Waiting:  func(err error, _ time.Duration) { bar.Describe("the door is away, trying again") },
	})
	_ = bar.Exit()
	fmt.Fprintln(in.Stdout, res)
	if err != nil {
		return fmt.Errorf("import: %w; run it again to go on: who is there already is passed over", err)
	}
	if res.Bad > 0 {
		return program.WithExitCode(badRows, fmt.Errorf("import: %s", c.whereBad()))
	}
	return nil
}

func (c *importCommand) open(in program.IO) (rows importer.Rows, total int64, closeInput func(), err error) {
	nothing := func() {}
	switch {
	case c.Sample > 0 && c.File != "":
		return nil, 0, nil, config.Usage("import: pass a file or --sample, not both")
	case c.Sample > 0:
		if c.Seed == 0 {
			c.Seed = rand.Uint64N(1_000_000-1) + 1
		}
		fmt.Fprintf(in.Stderr, "making up %d people of seed %d; --seed %[2]d makes the same ones again\n", c.Sample, c.Seed)
		return importer.Sample(c.Sample, c.Seed), int64(c.Sample), nothing, nil
	case c.File == "":
		return nil, 0, nil, config.Usage("import: pass a file, - for standard input, or --sample N")
	case c.File == "-":
		return importer.Read(in.Stdin), unknownTotal, nothing, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("import: %w", err)
	}
	if info, err := f.Stat(); err != nil || info.IsDir() {
		_ = f.Close()
		return nil, 0, nil, fmt.Errorf("import: %s is not a file", c.File)
	}
	return importer.Read(f), unknownTotal, func() { _ = f.Close() }, nil
}

// badFile is beside the input; what was made up has no bad rows.
func (c *importCommand) badFile() string {
	switch c.File {
	case "":
		return ""
	case "-":
		return "stdin.bad.csv"
	}
	return c.File + ".bad.csv"
}

func (c *importCommand) whereBad() string {
	if name := c.badFile(); name != "" {
		return "the bad rows are in " + name + ", with the reason of each; mend them there and import that file"
	}
	return "some rows were refused"
}

const unknownTotal = -1

// newBar draws on a terminal only.
func newBar(w io.Writer, total int64) *progressbar.ProgressBar {
	f, ok := w.(*os.File)
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(ok && term.IsTerminal(int(f.Fd()))),
		progressbar.OptionSetDescription("importing"), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("users"), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(true),
	)
}
