package outbox

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// addColumns is the number of values in a row of the outbox.
const addColumns = 7

// addMany are the texts of the insert, by number of rows.
var addMany = manyRows(addColumns,
	`INSERT INTO tidings_outbox (created, topic, source, key, version, id, envelope) VALUES `, ``)

// Add stores events in tx, to be published to topic once tx is committed, in the order of the commits and within a
// transaction in the order given. tx may be any transaction of the outbox's database: that of [Outbox.InTx], or one
// of your own, after whose commit you call [Outbox.Wake].
//
// Events of one key must be added under a lock that keeps the key's other writers out until the commit, as
// "UPDATE … SET version = version + 1" of the key's own row does. Add stores nothing when an event is one that a
// bus refuses (see [bus.Event.Validate]); the error names each of them, and wraps [bus.ErrTooLarge] for one that is
// too large. At and Heard are not stored, nor Seq and SeqLog: it is the relay that numbers.
func (o *Outbox) Add(ctx context.Context, tx Tx, topic string, events ...bus.Event) error {
	if err := checkEvents(topic, events); err != nil {
		return fmt.Errorf("outbox: add to %q: %w", topic, err)
	}
	args := make([]any, 0, addColumns*min(len(events), largestChunk))
	created, stable := o.now().UnixMicro(), o.stable(ctx)
	err := chunks(len(events), func(text, from, to int) error {
		args = args[:0]
		for i := range events[from:to] {
			e := events[from+i]
			e.Seq, e.SeqLog = 0, ""
			envelope := e.AppendEnvelope(make([]byte, 0, e.Size()))
			args = append(args, created, topic, e.Source, e.Key, int64(e.Version), e.ID, envelope)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := tx.ExecContext(stable, addMany[text], args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("outbox: add to %q: %w", topic, err)
	}
	crashpoint.Pass("outbox.1a")
	return nil
}

// stable is ctx for a statement. SQLite's driver starts a goroutine for each whose context can end, and takes
// microseconds, so there ctx is looked at in between; a Postgres may be paused, or out of reach.
func (o *Outbox) stable(ctx context.Context) context.Context {
	if o.w.Dialect() == sqldb.Postgres {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// checkEvents names every event that can't be published, so that none is found out by the relay.
func checkEvents(topic string, events []bus.Event) error {
	if topic == "" {
		return errors.New("no topic")
	}
	var faults []error
	for i := range events {
		e := events[i]
		e.SeqLog = seqLogRoom // which the relay may fill
		err := e.Validate()
		if v := e.Version; err == nil && v > math.MaxInt64 {
			err = fmt.Errorf("version %d is beyond %d", v, int64(math.MaxInt64))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("event %d: %w", i, err))
		}
	}
	return errors.Join(faults...)
}

// chunkSizes are the numbers of rows for which a multi-row statement has a text, so that each is prepared once.
var chunkSizes = [...]int{largestChunk, 20, 5, 1}

const largestChunk = 100

// chunks cuts n rows into pieces of these sizes and calls fn for each, with the number of the size's text.
func chunks(n int, fn func(text, from, to int) error) error {
	at := 0
	for text, size := range chunkSizes {
		for ; n-at >= size; at += size {
			if err := fn(text, at, at+size); err != nil {
				return err
			}
		}
	}
	return nil
}

// manyRows makes the texts of head + "($1,$2),($3,$4)…" + tail, one for each chunk size.
func manyRows(cols int, head, tail string) (texts [len(chunkSizes)]string) {
	for i, size := range chunkSizes {
		texts[i] = head + sqldb.Values(size, cols) + tail
	}
	return texts
}

// manyOf makes the texts of head + "($1,$2,$3)", one for each chunk size.
func manyOf(head string) (texts [len(chunkSizes)]string) {
	for i, size := range chunkSizes {
		texts[i] = head + sqldb.Values(1, size)
	}
	return texts
}
