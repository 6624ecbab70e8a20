package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/importer"
)

type importCommand struct {
	File   string `arg:"" optional:"" help:"CSV whose first line names the columns email and name, or JSON lines with those members; - is standard input. Taken too: display_name, locale, phone, and for the name given_name, family_name, name_order."`
	Sample int    `help:"Make N people up instead of reading a file." placeholder:"N"`
	Seed   uint64 `help:"Make the same people up as an earlier run, which printed its seed. 0 picks one." placeholder:"N"`
	Door   string `help:"Address of the write door, with or without http:// in front." default:"127.0.0.1:8480" placeholder:"HOST:PORT"`
	// Workers is small enough for the door's own limits, and shares commits well.
	Workers int           `help:"Requests at a time." default:"64"`
	Retry   time.Duration `help:"How long a door that can't be reached is tried before the import gives up." default:"30s"`
}

// Validate is called by the parser. It makes a URL of the door.
func (c *importCommand) Validate() error {
	switch {
	case c.Sample < 0:
		return fmt.Errorf("--sample %d: pass how many people to make up, 1 or more", c.Sample)
	case c.Workers < 1:
		return fmt.Errorf("--workers %d: pass 1 or more", c.Workers)
	case c.Retry <= 0:
		return fmt.Errorf("--retry %v: pass a time above 0, such as 30s", c.Retry)
	}
	door, err := doorURL(c.Door)
	c.Door = door
	return err
}

// doorURL takes the address as `up` takes it, from the same variable, and as `up` prints it.
func doorURL(address string) (string, error) {
	const pass = "pass HOST:PORT or http://HOST:PORT, such as 127.0.0.1:8480"
	full := address
	if !strings.Contains(address, "://") {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return "", fmt.Errorf("--door %q: %s", address, pass)
		}
		full = "http://" + address
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return "", fmt.Errorf("--door %q is no address: %s", address, pass)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("--door %q: %s:// is not spoken there: %s", address, u.Scheme, pass)
	case u.Hostname() == "", u.RawQuery != "", u.Fragment != "", u.User != nil:
		return "", fmt.Errorf("--door %q: %s", address, pass)
	}
	return full, nil
}

// badRows is the exit code of an import that went through but for bad rows.
const badRows = 3

func (c *importCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	rows, total, closeInput, err := c.open(in)
	if err != nil {
		return err
	}
	defer closeInput()
	shown := newDisplay(in.Stderr, total, c.Retry)
	res, err := importer.Run(ctx, importer.Config{
		Door: c.Door, Rows: rows, Workers: c.Workers, Retry: c.Retry, BadFile: c.badFile(),
		Progress: shown.progress, Waiting: shown.waiting,
	})
	_ = shown.bar.Exit()
	fmt.Fprintln(in.Stdout, res)
	if errors.Is(err, importer.ErrDoorLost) {
		return fmt.Errorf("import: %w; run it again to go on: who is there already is passed over", err)
	}
	if err != nil {
		return fmt.Errorf("import: %w", err) // of the input, which a second run would meet again
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
		people := "people"
		if c.Sample == 1 {
			people = "person"
		}
		fmt.Fprintf(in.Stderr, "making up %d %s of seed %d; --seed %[3]d makes the same ones again\n", c.Sample, people, c.Seed)
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
		return "the bad rows are in " + name + ", with the reason of each; mend the columns there and import that file"
	}
	return "some rows were refused"
}

const unknownTotal = -1

// display shows how an import goes: a bar on a terminal, and elsewhere only what a log should have. It is safe for
// concurrent use.
type display struct {
	out      io.Writer
	bar      *progressbar.ProgressBar
	terminal bool
	retry    time.Duration

	mu         sync.Mutex
	away, told bool
}

const (
	importing = "importing"
	doorAway  = "the door is away, trying again"
)

func newDisplay(out io.Writer, total int64, retry time.Duration) *display {
	f, ok := out.(*os.File)
	terminal := ok && term.IsTerminal(int(f.Fd()))
	return &display{out: out, bar: newBar(out, total, terminal), terminal: terminal, retry: retry}
}

func (d *display) progress(row importer.Row) {
	_ = d.bar.Add(1) // a bar that can't be drawn is no reason to stop
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away && row.Err == nil {
		d.away = false
		d.bar.Describe(importing)
	}
}

func (d *display) waiting(err error, _ time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.away {
		d.away = true
		d.bar.Describe(doorAway)
	}
	if !d.terminal && !d.told {
		d.told = true // once: a door under load comes and goes
		fmt.Fprintf(d.out, "the door is away, and is tried for %v: %v\n", d.retry, err)
	}
}

func newBar(w io.Writer, total int64, visible bool) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(visible),
		progressbar.OptionSetDescription(importing), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("users"), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(true),
	)
}
