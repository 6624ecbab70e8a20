package tail

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
)

// Config says what is printed, and where.
type Config struct {
	Bus   string // the address, as [bus.Open] takes it
	Topic string
	Start bus.Start // on a bus that keeps no log only bus.Latest is possible

	Key   string   // print events of this key only; "" is all
	Types []string // print events of these types only: full names, or the part behind the last dot; empty is all
	Count int      // end after so many are printed; 0 is never

	JSON bool
	Out  io.Writer
	Say  func(line string) // tells a person how it goes; it may be called from several goroutines
}

// ErrNoLog is the error for a start that is in the past on a bus that keeps nothing of it.
var ErrNoLog = errors.New("this bus keeps no log, so there is only what comes from now on")

// errEnough ends reading when Count events are printed.
var errEnough = errors.New("enough")

// Run prints until ctx ends, Count events are printed, or whoever reads Out no longer does; each of these ends it with
// nil. A broker or a topic that is not there is told by Say, and waited for. An address that is wrong, or a start that
// the bus can't do ([ErrNoLog]), is an error at once; so is Out's error at any time.
func Run(ctx context.Context, cfg Config) error {
	logs, err := keepsLog(ctx, cfg.Bus)
	if err != nil {
		return err
	}
	ctx, stop := whileRead(ctx, cfg.Out)
	defer stop()
	p := &printer{Config: cfg, out: bufio.NewWriterSize(cfg.Out, 1<<16)}
	if logs {
		err = p.readLog(ctx)
	} else {
		err = p.listen(ctx)
	}
	if errors.Is(err, errEnough) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// Check finds what is wrong with the address of a bus, and waits for nobody.
func Check(ctx context.Context, address string) error {
	_, err := keepsLog(ctx, address)
	return err
}

func keepsLog(ctx context.Context, address string) (bool, error) {
	b, err := backends.Open(ctx, address, slog.New(slog.DiscardHandler))
	if err != nil {
		return false, err
	}
	return bus.KeepsLog(b), b.Close(context.WithoutCancel(ctx))
}

// readLog reads a topic of Kafka.
func (p *printer) readLog(ctx context.Context) error {
	return kafka.Read(ctx, p.Bus, kafka.Reading{
		Topic: p.Topic, Start: p.Start, Log: slog.New(&plainLog{say: p.Say}),
		OnStart: p.begins,
		OnMissing: func(there []string) {
			p.Start = bus.Earliest() // as Read does
			p.Say(fmt.Sprintf("there is no topic %q yet at %s; waiting for it%s", p.Topic, p.server(), others(there)))
		},
	}, p.print)
}

// others are topics that may have been meant.
func others(there []string) string {
	there = slices.DeleteFunc(slices.Clone(there), func(name string) bool { return strings.HasPrefix(name, "__") })
	const most = 10
	switch {
	case len(there) == 0:
		return ""
	case len(there) > most:
		return fmt.Sprintf(" (there are %s, and %d more)", quoteAll(there[:most]), len(there)-most)
	}
	return fmt.Sprintf(" (there is %s)", quoteAll(there))
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = word(name)
	}
	return strings.Join(quoted, ", ")
}

// begins says where reading begins.
func (p *printer) begins(parts []bus.Partition) {
	places, ahead := make([]string, len(parts)), int64(0)
	for i, part := range parts {
		places[i] = fmt.Sprintf("%d:%d", part.Partition, part.Offset)
		ahead += part.Next - part.Offset
	}
	if p.began {
		p.Say(fmt.Sprintf("%s goes on in more partitions, at %s", p.Topic, strings.Join(places, " ")))
		return
	}
	p.began = true
	there := ""
	if ahead > 0 { // not all of them need be events
		there = fmt.Sprintf(": up to %d are there, then what comes", ahead)
	}
	p.Say(fmt.Sprintf("%s at %s from %s%s; partition:offset %s",
		p.Topic, p.server(), startText(p.Start), there, strings.Join(places, " ")))
}

// startText is a start for people.
func startText(s bus.Start) string {
	if t, ok := s.Time(); ok {
		return "what the broker received at " + t.Format("2006-01-02T15:04:05Z07:00")
	}
	return cmp.Or(map[string]string{"earliest": "the beginning", "latest": "the end"}[s.String()], s.String())
}

func (p *printer) server() string { return config.Redact(p.Bus) }

// listen hears a channel of Redis PubSub, where a subscription is all there is, and leaves nothing behind by itself.
func (p *printer) listen(ctx context.Context) (err error) {
	if !p.Start.IsLatest() {
		return ErrNoLog
	}
	// Once we want no more, what is not printed is no loss to tell of; until then the log tells of each.
	var over atomic.Bool
	say := func(line string) {
		if !over.Load() && ctx.Err() == nil {
			p.Say(line)
		}
	}
	b, err := backends.Open(ctx, p.Bus, slog.New(&plainLog{say: say}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	var failed error // Subscribe tells of no other end than these two
	err = b.Subscribe(ctx, bus.Subscription{
		Group: "tidings.tail", Topics: []string{p.Topic}, Start: bus.Latest(),
		OnReady: func(ready bool) {
			if ready {
				say(fmt.Sprintf("%s at %s from now on: this bus keeps nothing of what was", p.Topic, p.server()))
			}
		},
	}, func(_ context.Context, d bus.Delivery) error {
		failed = p.print(d.Events)
		over.Store(failed != nil)
		return bus.Permanent(failed)
	})
	return cmp.Or(failed, err)
}

// printer prints what it is given. Its methods that print are called by one goroutine at a time.
type printer struct {
	Config
	out     *bufio.Writer
	began   bool
	printed int
}

// print prints those of events that were asked for, and flushes: what comes next may take long.
func (p *printer) print(events []bus.Event) error {
	for i := range events {
		if !p.wanted(&events[i]) {
			continue
		}
		if _, err := p.out.Write(p.line(&events[i])); err != nil {
			return err
		}
		if p.printed++; p.printed == p.Count {
			return cmp.Or(p.out.Flush(), errEnough)
		}
	}
	return p.out.Flush()
}

func (p *printer) wanted(e *bus.Event) bool {
	if p.Key != "" && e.Key != p.Key {
		return false
	}
	return len(p.Types) == 0 || slices.ContainsFunc(p.Types, func(name string) bool {
		return e.Type == name || strings.HasSuffix(e.Type, "."+name)
	})
}

func (p *printer) line(e *bus.Event) []byte {
	if p.JSON {
		return append(object(e), '\n')
	}
	return append(line(e), '\n')
}
