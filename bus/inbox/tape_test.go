package inbox

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// tape is a log whose deliveries a test cuts by itself, to show what an inbox makes of exactly this delivery.
type tape struct {
	t     testing.TB
	id    string
	first int64
	parts [][]bus.Event
	over  func() // where set, called after each delivery
}

func newTape(t testing.TB, partitions int) *tape {
	return &tape{t: t, id: "log-1", parts: make([][]bus.Event, partitions)}
}

// put appends events to a partition.
func (l *tape) put(p int, events ...bus.Event) {
	for _, e := range events {
		e.At = bus.Position{Topic: topic, Log: l.id, Partition: int32(p), Offset: l.first + int64(len(l.parts[p]))}
		l.parts[p] = append(l.parts[p], e)
	}
}

func (l *tape) end(p int) int64 { return l.first + int64(len(l.parts[p])) }

// partitions describes the whole log, for a group that starts at its oldest event.
func (l *tape) partitions() []bus.Partition {
	all := make([]bus.Partition, len(l.parts))
	for p := range l.parts {
		all[p] = bus.Partition{
			Position: bus.Position{Topic: topic, Log: l.id, Partition: int32(p), Offset: l.first},
			First:    l.first, Next: l.end(p),
		}
	}
	return all
}

// cut is a piece of a partition: offsets [from, to).
type cut struct {
	part     int
	from, to int64
}

// delivery makes a delivery of pieces, which must be in order of partition.
func (l *tape) delivery(cuts ...cut) bus.Delivery {
	var d bus.Delivery
	for _, c := range cuts {
		d.Ranges = append(d.Ranges, bus.Range{
			Position: bus.Position{Topic: topic, Log: l.id, Partition: int32(c.part), Offset: c.from}, Next: c.to,
		})
		d.Events = append(d.Events, l.parts[c.part][c.from-l.first:c.to-l.first]...)
	}
	return d
}

// resume asks the inbox where to read on.
func (l *tape) resume(in *Inbox) []int64 {
	l.t.Helper()
	next, err := in.resume(context.Background(), l.partitions())
	if err != nil {
		l.t.Fatal(err)
	}
	return next
}

// play gives the inbox one delivery and wants it done.
func (l *tape) play(in *Inbox, cuts ...cut) {
	l.t.Helper()
	if err := in.handle(context.Background(), l.delivery(cuts...)); err != nil {
		l.t.Fatalf("delivery of %v: %v", cuts, err)
	}
	if l.over != nil {
		l.over()
	}
}

// rest plays everything from the stored positions to the log's ends, one event at a time.
func (l *tape) rest(in *Inbox) {
	l.t.Helper()
	for p, next := range l.resume(in) {
		for ; next < l.end(p); next++ {
			l.play(in, cut{p, next, next + 1})
		}
	}
}

// reread returns the partitions that an answer of the inbox names.
func reread(t testing.TB, err error) []int32 {
	t.Helper()
	at, ok := bus.RereadPositions(err)
	if !ok {
		t.Fatalf("the answer is %v, want Reread", err)
	}
	var parts []int32
	for _, p := range at {
		parts = append(parts, p.Partition)
	}
	return parts
}

var errTest = errors.New("test error")

// errStore is a fault of the store as a handler may return it.
var errStore = fmt.Errorf("%w: %w", sqldb.ErrNotCommitted, errTest)
