package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/program"
)

type parkedLs struct {
	Service string `arg:"" optional:"" help:"directory, audit or mailer; all three where none is named. With --db any service that reads events."`
	databaseFlags
	Key       string `help:"Of one key only: the id of a user." env:"-"`
	State     string `help:"In one state only: parked (to be tried again), behind (waits for one that is), dead (tried no more) or unknown (nothing takes its type)." enum:",parked,behind,dead,unknown" default:"" placeholder:"STATE" env:"-"`
	Discarded bool   `help:"List what was discarded instead, and why." env:"-"`
	JSON      bool   `name:"json" help:"Print one JSON object a line instead of a table." env:"-"`
}

// listed is a row as --json prints it.
type listed struct {
	ID        string     `json:"id"` // with the service in front, as other commands take it
	Service   string     `json:"service"`
	State     string     `json:"state"`
	Source    string     `json:"source"`
	Key       string     `json:"key"`
	Version   uint64     `json:"version"`
	Have      uint64     `json:"have"` // the version of the key that was applied before
	Type      string     `json:"type"`
	EventID   string     `json:"event_id"`
	Reaction  bool       `json:"reaction,omitempty"`
	Tries     int        `json:"tries"`
	Error     string     `json:"error,omitempty"`
	Parked    time.Time  `json:"parked"`
	Next      *time.Time `json:"next,omitempty"` // when it is tried again; absent where it isn't
	Topic     string     `json:"topic"`
	Log       string     `json:"log"`
	Partition int32      `json:"partition"`
	Offset    int64      `json:"offset"`              // -1 where there is no log
	Why       string     `json:"why,omitempty"`       // of one that was discarded
	Discarded *time.Time `json:"discarded,omitempty"` // when
}

func listedOf(e inbox.ParkedEvent) listed {
	l := listed{
		ID: rowID{e.Group, e.ID}.String(), Service: e.Group, State: e.State, Source: e.Source, Key: e.Key, Version: e.Version,
		Have: e.Have, Type: e.Type, EventID: e.EventID, Reaction: e.Reaction, Tries: e.Attempts, Error: e.Error, Parked: e.Time.UTC(),
		Topic: e.At.Topic, Log: e.At.Log, Partition: e.At.Partition, Offset: e.At.Offset,
	}
	if !e.Next.IsZero() {
		next := e.Next.UTC()
		l.Next = &next
	}
	return l
}

func listedOfDiscarded(d inbox.DiscardedEvent) listed {
	l := listedOf(d.ParkedEvent)
	at := d.Discarded.UTC()
	l.Why, l.Discarded = d.Why, &at
	return l
}

func (c *parkedLs) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	var all printer = &table{w: in.Stdout, now: time.Now(), discarded: c.Discarded}
	if c.JSON {
		all = objects{json.NewEncoder(in.Stdout)}
	}
	err := c.each(ctx, c.Service, func(p *inbox.Parking, service string) error {
		f := inbox.Filter{Group: service, Key: c.Key, State: c.State}
		if c.Discarded {
			return listDiscarded(ctx, p, f, all.print)
		}
		return list(ctx, p, f, func(e inbox.ParkedEvent) error { return all.print(listedOf(e)) })
	})
	if err != nil {
		return err
	}
	return all.end()
}

// listDiscarded is list of what was discarded.
func listDiscarded(ctx context.Context, p *inbox.Parking, f inbox.Filter, fn func(listed) error) error {
	f.Limit = pageSize
	for {
		rows, err := p.Discarded(ctx, f)
		if err != nil {
			return err
		}
		for _, d := range rows {
			if err := fn(listedOfDiscarded(d)); err != nil {
				return err
			}
		}
		if len(rows) < pageSize {
			return nil
		}
		f.After = rows[len(rows)-1].ID
	}
}

// printer prints rows.
type printer interface {
	print(listed) error
	end() error
}

// objects prints each as a JSON object in a line of its own.
type objects struct{ *json.Encoder }

func (o objects) print(l listed) error { return o.Encode(l) }
func (objects) end() error             { return nil }

// table prints rows for people. A page of them shares the widths of its columns, so that there is no end to the rows.
type table struct {
	w         io.Writer
	now       time.Time
	discarded bool

	rows int
	page *tabwriter.Writer
}

// cutText is how much of a text stands in a row.
const cutText = 60

func (t *table) print(l listed) error {
	if t.page == nil {
		t.page = tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
		last := "tries\tnext\terror"
		if t.discarded {
			last = "discarded\twhy"
		}
		fmt.Fprintln(t.page, "id\tstate\tkey\tversion\ttype\t"+last)
	}
	fmt.Fprintf(t.page, "%s\t%s\t%s\t%s\t%s\t", l.ID, l.State, orDash(cut(l.Key)), version(l.Version), orDash(shortType(l.Type)))
	if t.discarded {
		fmt.Fprintf(t.page, "%s\t%s\n", l.Discarded.Format(time.RFC3339), cut(l.Why))
	} else {
		fmt.Fprintf(t.page, "%d\t%s\t%s\n", l.Tries, t.next(l), orDash(cut(l.Error)))
	}
	if t.rows++; t.rows%pageSize == 0 {
		return t.flush()
	}
	return nil
}

// next is when an event is tried again.
func (t *table) next(l listed) string {
	switch {
	case l.Next == nil:
		return "-"
	case !l.Next.After(t.now):
		return "now"
	}
	return "in " + l.Next.Sub(t.now).Round(time.Second).String()
}

func (t *table) flush() error {
	if t.page == nil {
		return nil
	}
	err := t.page.Flush()
	t.page = nil
	return err
}

func (t *table) end() error {
	if t.rows > 0 {
		return t.flush()
	}
	text := "nothing is parked"
	if t.discarded {
		text = "nothing was discarded"
	}
	_, err := fmt.Fprintln(t.w, text)
	return err
}

// cut makes a text one line that is not too long. What came from outside must not write on the terminal by itself.
func cut(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return '·'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > cutText {
		return string(runes[:cutText-1]) + "…"
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// version is "-" for an event that has none.
func version(v uint64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprint(v)
}

// shortType is a type's name without its package.
func shortType(name string) string { return cut(name[strings.LastIndexByte(name, '.')+1:]) }
