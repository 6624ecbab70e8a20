package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// part is what an attempt makes of one range of its delivery.
type part struct {
	bus.Range
	from  int64 // events below are left out; the stored position
	whole bool  // the group read this partition from the log's very start
	take  bool  // false: nothing of it is taken
}

// decide reads the stored position of each range, in order of topic and partition, and lets each decide alone: one
// that is where the range begins, or further on, takes what is not below it; one that is behind, absent, or of
// another log takes nothing, and the bus is told to ask again where to read.
func (a *attempt) decide(ctx context.Context, ranges []bus.Range) error {
	a.parts = make([]part, len(ranges))
	for i, r := range ranges {
		p, err := a.stored(ctx, r)
		if err != nil {
			return fmt.Errorf("position of %s/%d: %w", r.Topic, r.Partition, err)
		}
		a.parts[i] = p
	}
	return nil
}

// stored reads one position row, locks it, and decides by it. The row is the truth: the bus may have been paused, moved
// or restored since it last asked where to read. Another replica that has the same partition in hand, without knowing
// that it lost it, waits here, and then finds the row further on.
func (a *attempt) stored(ctx context.Context, r bus.Range) (part, error) {
	const text = `SELECT log, next, whole FROM tidings_inbox_position WHERE grp = $1 AND topic = $2 AND part = $3`
	p := part{Range: r}
	var log string
	err := a.tx.QueryRowContext(ctx, text+a.forUpdate, a.cfg.Group, r.Topic, r.Partition).Scan(&log, &p.from, &p.whole)
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return p, err
	case err != nil || log != r.Log || p.from < r.Offset:
		// What lies between the row and the delivery was never taken in: to go on would lose it.
		a.reread = append(a.reread, r.Position)
	default:
		// A row beyond the whole range means that all of it was done: a repeat, or a member that was replaced.
		p.take = p.from < r.Next
	}
	return p, nil
}

// storePositions moves the positions to the end of what was taken. A row that is no longer where decide found it
// rolls all back: the same events would be done twice otherwise.
func (a *attempt) storePositions(ctx context.Context) error {
	const text = `UPDATE tidings_inbox_position SET next = $1 WHERE grp = $2 AND topic = $3 AND part = $4 AND next = $5`
	for i := range a.parts {
		p := &a.parts[i]
		if !p.take {
			continue
		}
		r, err := a.tx.ExecContext(ctx, text, p.Next, a.cfg.Group, p.Topic, p.Partition, p.from)
		if err := one(r, err); err != nil {
			return fmt.Errorf("position of %s/%d: %w", p.Topic, p.Partition, err)
		}
	}
	crashpoint.Pass("inbox.D7b")
	return nil
}

// errMoved says that what was decided is void, for somebody else has committed meanwhile. No statement has failed.
var errMoved = errors.New("a row was changed by somebody else meanwhile")

// one wants exactly one row to have been changed.
func one(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return errMoved
}

// partOf returns the part that e belongs to; nil for an event of a bus without a log. Events of one partition come in
// runs, so the search begins where the last one ended.
func (a *attempt) partOf(e *bus.Event) (*part, error) {
	if e.At.Offset < 0 && len(a.parts) == 0 {
		return nil, nil
	}
	// Without its range nothing would say that the event is done: it would come again for ever, or be lost.
	for n := len(a.parts); n > 0; n-- {
		p := &a.parts[a.last]
		if p.Partition == e.At.Partition && p.Topic == e.At.Topic {
			return p, nil
		}
		a.last = (a.last + 1) % len(a.parts)
	}
	return nil, fmt.Errorf("the delivery has an event of %s/%d and no range of it", e.At.Topic, e.At.Partition)
}
