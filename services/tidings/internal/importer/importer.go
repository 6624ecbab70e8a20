package importer

import (
	"context"
	"errors"
	"fmt"
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
	// Progress, where set, is called after each row; the door has answered it unless its Err is set. Waiting, where
	// set, is called when the door is about to be tried again. Calls may overlap.
	Progress func(row Row)
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
// or why the rows could not be read on; the rows before that one have been answered. Bad rows are no error.
//
// A read can't be broken off, such as that of a silent terminal. Where Run ends before the rows do, it does not wait
// for one: the goroutine that reads ends when the read does, without a further one.
//
// A run that goes through without a bad row removes the file of bad rows that an earlier one left.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	cfg = cfg.withDefaults()
	d := newDoor(cfg.Door, cfg.Workers, cfg.Retry, cfg.Waiting)
	defer d.close()
	t := &tally{bad: badFile{path: cfg.BadFile}}
	defer func() {
		err = errors.Join(err, t.bad.close())
		res = t.Result
	}()
	if err := answerAll(ctx, cfg, d, t); err != nil {
		return res, err
	}
	return res, t.bad.removeStale()
}

func (c Config) withDefaults() Config {
	if c.Workers == 0 {
		c.Workers = defaultWorkers
	}
	if c.Retry == 0 {
		c.Retry = defaultRetry
	}
	if c.Progress == nil {
		c.Progress = func(Row) {}
	}
	if c.Waiting == nil {
		c.Waiting = func(error, time.Duration) {}
	}
	return c
}

func answerAll(ctx context.Context, cfg Config, d *door, t *tally) error {
	group, ctx := errgroup.WithContext(ctx)
	rows, read := make(chan Row, cfg.Workers), make(chan error, 1)
	// It is no part of the group: an input that can't be read on must not break off the rows before it.
	go func() {
		defer close(rows)
		read <- feed(ctx, cfg.Rows, rows)
	}()
	for range cfg.Workers {
		group.Go(func() error { return work(ctx, cfg, d, t, rows) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return <-read // the workers have seen the end of the rows
}

func feed(ctx context.Context, all Rows, rows chan<- Row) error {
	for row, err := range all {
		if err != nil {
			return err
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
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case row, ok := <-rows:
			if !ok {
				return nil
			}
			if err := t.row(ctx, d, row); err != nil {
				return err
			}
			cfg.Progress(row)
		}
	}
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
