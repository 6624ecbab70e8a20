package importer

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Config says what Run does. Door and Rows must be set.
type Config struct {
	Door    string        // the write door's address: "http://127.0.0.1:8480"
	Rows    Rows          // the users to be made
	Workers int           // requests at a time; 0 is 64
	Retry   time.Duration // how long a door that can't be reached is tried; 0 is 30 s
	BadFile string        // where bad rows go; it is made with the first one. Empty: they are only counted
	// Progress, where set, is called after each row. Waiting, where set, is called when the door is about to be tried
	// again. Calls may overlap.
	Progress func()
	Waiting  func(err error, next time.Duration)
}

// Result counts what became of the rows.
type Result struct {
	Created, AlreadyThere, Bad int
	// FirstBad is the bad row with the lowest line, and Reason what was wrong with it.
	FirstBad Row
	Reason   string
}

// String is the line that an import ends with.
func (r Result) String() string {
	p := message.NewPrinter(language.English)
	s := p.Sprintf("%d created, %d already there, %d bad", r.Created, r.AlreadyThere, r.Bad)
	switch {
	case r.Bad == 1:
		s += fmt.Sprintf(" (line %d: %s)", r.FirstBad.Line, r.Reason)
	case r.Bad > 1:
		s += fmt.Sprintf(" (the first on line %d: %s)", r.FirstBad.Line, r.Reason)
	}
	return s
}

const (
	defaultWorkers = 64
	defaultRetry   = 30 * time.Second
)

// Run makes the users, and blocks until all rows have been answered. It returns what it has counted with every
// error: one that wraps [ErrDoorLost] when the door could not be reached for Config.Retry, ctx's error when ctx ended,
// or why the rows could not be read on. Bad rows are no error.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	cfg = cfg.withDefaults()
	d := newDoor(cfg.Door, cfg.Workers, cfg.Retry, cfg.Waiting)
	defer d.close()
	t := &tally{bad: badFile{path: cfg.BadFile}}
	defer func() {
		err = errors.Join(err, t.bad.close())
		res = t.Result
	}()

	group, ctx := errgroup.WithContext(ctx)
	rows := make(chan Row, cfg.Workers)
	group.Go(func() error {
		defer close(rows)
		return feed(ctx, cfg.Rows, rows)
	})
	for range cfg.Workers {
		group.Go(func() error { return work(ctx, cfg, d, t, rows) })
	}
	return res, group.Wait()
}

func (c Config) withDefaults() Config {
	if c.Workers == 0 {
		c.Workers = defaultWorkers
	}
	if c.Retry == 0 {
		c.Retry = defaultRetry
	}
	if c.Progress == nil {
		c.Progress = func() {}
	}
	if c.Waiting == nil {
		c.Waiting = func(error, time.Duration) {}
	}
	return c
}

func feed(ctx context.Context, all Rows, rows chan<- Row) error {
	for row, err := range all {
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		select {
		case rows <- row:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func work(ctx context.Context, cfg Config, d *door, t *tally, rows <-chan Row) error {
	for row := range rows {
		if err := t.row(ctx, d, row); err != nil {
			return err
		}
		cfg.Progress()
	}
	return nil
}

// tally counts. It is safe for concurrent use.
type tally struct {
	mu sync.Mutex
	Result
	bad badFile
}

func (t *tally) row(ctx context.Context, d *door, row Row) error {
	if row.Err != nil {
		return t.count(refused, row, row.Err.Error())
	}
	o, reason, err := d.create(ctx, row)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: line %d: %w", ErrDoorLost, row.Line, err)
	}
	return t.count(o, row, reason)
}

func (t *tally) count(o outcome, row Row, reason string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch o {
	case created:
		t.Created++
	case alreadyThere:
		t.AlreadyThere++
	default:
		if t.Bad == 0 || row.Line < t.FirstBad.Line {
			t.FirstBad, t.Reason = row, reason
		}
		t.Bad++
		return t.bad.write(row, reason)
	}
	return nil
}

// badFile is the file of bad rows: the input's columns, the line and the reason. It can be mended and imported.
type badFile struct {
	path string
	file io.Closer
	csv  *csv.Writer
}

func (b *badFile) write(row Row, reason string) error {
	if b.path == "" {
		return nil
	}
	if b.csv == nil {
		f, err := os.Create(b.path)
		if err != nil {
			return fmt.Errorf("file of bad rows: %w", err)
		}
		b.file, b.csv = f, csv.NewWriter(f)
		if err := b.csv.Write([]string{"line", "reason", "email", "name"}); err != nil {
			return fmt.Errorf("file of bad rows: %w", err)
		}
	}
	if err := b.csv.Write([]string{strconv.Itoa(row.Line), reason, row.Email, row.Name}); err != nil {
		return fmt.Errorf("file of bad rows: %w", err)
	}
	return nil
}

func (b *badFile) close() error {
	if b.csv == nil {
		return nil
	}
	b.csv.Flush()
	if err := errors.Join(b.csv.Error(), b.file.Close()); err != nil {
		return fmt.Errorf("file of bad rows: %w", err)
	}
	return nil
}
