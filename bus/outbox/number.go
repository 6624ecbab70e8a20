package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// numberColumns is the number of values in a row that holds a number.
const numberColumns = 2

// numberMany are the texts of the insert, by number of rows. A number that is stored is never changed: an event that
// is published again has the number that it had.
var numberMany = manyRows(numberColumns,
	`INSERT INTO tidings_outbox_seq (position, seq) VALUES `, ` ON CONFLICT (position) DO NOTHING`)

// numbersOf are the texts that look for the numbers of some positions.
var numbersOf = manyOf(`SELECT position, seq FROM tidings_outbox_seq WHERE position IN `)

// errNumbered means that an event has a number already, so that the numbers taken for a batch are too many.
var errNumbered = errors.New("some events are numbered")

// part is what one source publishes in a batch of one topic.
type part struct {
	source string
	rows   []int // indexes into the batch, in order of position
	fresh  []int // … of the events without a number
	log    string
	last   int64 // the number for the last of the fresh ones
}

// number gives each event the number that it was given before, or the next of its stream, and stores that before
// anything is published: so an event has one number however often it is published, and no number has two events.
//
// Nearly always all events are new, and that is assumed. Where the insert finds a number in its way, the transaction
// is taken back, the numbers that are there are read, and it begins again.
func (r *relay) number(ctx context.Context, topic string, positions []int64, events []bus.Event) error {
	var known map[int64]int64
	for {
		parts := partsOf(positions, events, known)
		err := r.giveNumbers(ctx, topic, positions, parts)
		if err == nil {
			setNumbers(positions, events, parts, known)
			return nil
		}
		if errors.Is(err, errNumbered) {
			known, err = r.lookup(ctx, numbersOf, positions)
		}
		if err != nil {
			return fmt.Errorf("number %d events: %w", len(events), err)
		}
	}
}

// partsOf sorts a batch by source, of which there is mostly one.
func partsOf(positions []int64, events []bus.Event, known map[int64]int64) (parts []*part) {
	bySource := make(map[string]*part, 1)
	for i := range events {
		p := bySource[events[i].Source]
		if p == nil {
			p = &part{source: events[i].Source}
			bySource[p.source] = p
			parts = append(parts, p)
		}
		p.rows = append(p.rows, i)
		if known[positions[i]] == 0 {
			p.fresh = append(p.fresh, i)
		}
	}
	slices.SortFunc(parts, func(a, b *part) int { return strings.Compare(a.source, b.source) }) // rows are locked in order
	return parts
}

// giveNumbers takes numbers for what is fresh and stores them. It renews the lease in the same transaction, so that a
// relay without it numbers nothing: it might have been paused until its rows were sent by another one, and purged.
func (r *relay) giveNumbers(ctx context.Context, topic string, positions []int64, parts []*part) error {
	asked := time.Now()
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		if err := r.renewIn(ctx, tx); err != nil {
			return err
		}
		for _, p := range parts {
			var err error
			if p.log, p.last, err = takeNumbers(ctx, tx, streamKey{topic, p.source}, newSeqLog(), len(p.fresh)); err != nil {
				return err
			}
			if err := p.insert(ctx, tx, positions); err != nil {
				return err
			}
		}
		crashpoint.Pass("outbox.4a")
		return nil
	})
	switch {
	case err == nil:
		crashpoint.Pass("outbox.4b")
		r.setRenewed(asked)
	case errors.Is(err, errLost):
		r.lost(errLost)
	}
	return err
}

// insert stores the numbers of the fresh events.
func (p *part) insert(ctx context.Context, tx Tx, positions []int64) error {
	args := make([]any, 0, numberColumns*min(len(p.fresh), largestChunk))
	next := p.last - int64(len(p.fresh))
	return chunks(len(p.fresh), func(text, from, to int) error {
		args = args[:0]
		for _, i := range p.fresh[from:to] {
			next++
			args = append(args, positions[i], next)
		}
		res, err := tx.ExecContext(ctx, numberMany[text], args...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n < int64(to-from) {
			err = errNumbered
		}
		return err
	})
}

// setNumbers writes into the events what is stored. It is for after the commit: a number that was not stored must
// not be published.
func setNumbers(positions []int64, events []bus.Event, parts []*part, known map[int64]int64) {
	for _, p := range parts {
		for _, i := range p.rows {
			events[i].Seq, events[i].SeqLog = uint64(known[positions[i]]), p.log
		}
		first := p.last - int64(len(p.fresh)) + 1
		for n, i := range p.fresh {
			events[i].Seq = uint64(first + int64(n))
		}
	}
}

// valid puts aside what no bus takes, before it takes a number that would be missed for ever.
func valid(positions []int64, events []bus.Event, out *outcome) ([]int64, []bus.Event) {
	for i := range events {
		events[i].SeqLog = seqLogRoom // it counts when it comes to the size
	}
	bad := invalid(positions, events)
	if len(bad) == 0 {
		return positions, events
	}
	out.bad = append(out.bad, bad...)
	return without(positions, events, bad)
}

// lookup reads a number for each position that has one. texts are queries for positions and numbers.
func (r *relay) lookup(ctx context.Context, texts [len(chunkSizes)]string, positions []int64) (map[int64]int64, error) {
	found := make(map[int64]int64)
	args := make([]any, 0, largestChunk)
	err := chunks(len(positions), func(text, from, to int) error {
		args = args[:0]
		for _, p := range positions[from:to] {
			args = append(args, p)
		}
		return r.lookupChunk(ctx, texts[text], args, found)
	})
	return found, err
}

// lookupChunk adds the answers of one query.
func (r *relay) lookupChunk(ctx context.Context, query string, args []any, found map[int64]int64) error {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var position, n int64
		if err := rows.Scan(&position, &n); err != nil {
			return err
		}
		found[position] = n
	}
	return rows.Err()
}
