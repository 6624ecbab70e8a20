package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
)

type rewindCommand struct {
	Service string `arg:"" help:"directory, audit or mailer; with --db any service that reads events."`
	databaseFlags
	To    []string `help:"Where to read again from: start for the start of the log (default), or PARTITION:OFFSET, or TOPIC/PARTITION:OFFSET; for several partitions more than once." placeholder:"PLACE" env:"-"`
	Since string   `help:"Read again what came since then: a time such as 2026-11-23T08:00:00Z, or 2h for two hours ago. The bus is asked where that is: --bus." placeholder:"TIME" env:"-"`
}

// Validate is called by the parser.
func (c *rewindCommand) Validate() error {
	if len(c.To) > 0 && c.Since != "" {
		return errors.New("pass --to or --since, not both")
	}
	_, err := places(c.To)
	if err == nil && c.Since != "" {
		_, err = momentOf(c.Since, time.Now())
	}
	return err
}

// places reads --to. Nothing is the start of every log.
func places(texts []string) (to []bus.Position, err error) {
	for _, text := range texts {
		if text == "start" && len(texts) == 1 {
			return nil, nil
		}
		p, err := placeOf(text)
		if err != nil {
			return nil, err
		}
		to = append(to, p)
	}
	return to, nil
}

// placeOf reads TOPIC/PARTITION:OFFSET. No topic has a slash or a colon in it.
func placeOf(text string) (p bus.Position, err error) {
	partition, offset, found := strings.Cut(text, ":")
	if topic, number, named := strings.Cut(partition, "/"); named {
		p.Topic, partition = topic, number
	}
	n, err := strconv.ParseInt(partition, 10, 32)
	if err == nil && offset == "start" {
		p.Offset = inbox.FromStart
	} else if err == nil {
		p.Offset, err = strconv.ParseInt(offset, 10, 64)
	}
	if !found || err != nil || n < 0 || p.Offset < inbox.FromStart || offset == "-1" {
		return p, fmt.Errorf("--to %s: pass start, or a place such as 3:812 or user_activity/3:812 or 3:start", text)
	}
	p.Partition = int32(n)
	return p, nil
}

// momentOf reads --since.
func momentOf(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.After(now) {
		return t, fmt.Errorf("--since %s: pass a time that has been, such as %s, or how long ago, such as 2h", text, now.UTC().Format(time.RFC3339))
	}
	return t, nil
}

func (c *rewindCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	if err := c.checkReader(c.Service); err != nil {
		return err
	}
	db, err := c.open(ctx, c.Service)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // what was written is committed
	to, err := places(c.To)
	if err == nil && c.Since != "" {
		to, err = c.since(ctx, db.DB)
	}
	if err != nil {
		return err
	}
	var moves []inbox.Move
	if c.Since == "" || len(to) > 0 {
		moves, err = inbox.Rewind(ctx, db.DB, c.Service, to...)
	}
	if err != nil {
		return err
	}
	return c.print(in.Stdout, moves)
}

// print says what moved, and what that means.
func (c *rewindCommand) print(w io.Writer, moves []inbox.Move) error {
	if len(moves) == 0 {
		_, err := fmt.Fprintf(w, "nothing moves: %s reads on from there, or from before it, as it is\n", c.Service)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "partition\twas at\treads from")
	for _, m := range moves {
		fmt.Fprintf(t, "%s/%d\t%s\t%s\n", m.Topic, m.Partition, offsetText(m.Offset), offsetText(m.To))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s reads that again: what it has it discards, and what it lacks it fills in\n", c.Service)
	return err
}

// offsetText is an offset for people.
func offsetText(offset int64) string {
	if offset == inbox.FromStart {
		return "start"
	}
	return strconv.FormatInt(offset, 10)
}

type rebuildCommand struct {
	Service string `arg:"" help:"directory; the others say why not."`
	databaseFlags
}

func (c *rebuildCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	r, ok := ours(c.Service)
	switch {
	case !ok:
		return notAReader(c.Service)
	case r.rebuild == nil:
		return config.Usage("rebuild: %w", r.why)
	}
	db, err := c.open(ctx, c.Service)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // what was written is committed
	if err := r.rebuild(ctx, db.DB); err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.Stdout, "%s is empty, and reads its log again from the start; `tidings status` shows how far it is\n", c.Service)
	return err
}
