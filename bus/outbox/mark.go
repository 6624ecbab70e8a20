package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// The numbers of values in a row of what was sent, on a bus with a log and on one without.
const (
	markColumns  = 5
	heardColumns = markColumns + 1
)

// markMany and heardMany are the texts of the insert, by number of rows. Whoever marks first is right: a relay that
// lost its lease without knowing may have published the same events again.
var (
	markMany = manyRows(markColumns,
		`INSERT INTO tidings_outbox_sent (position, sent, log, part, off) VALUES `, ` ON CONFLICT (position) DO NOTHING`)
	heardMany = manyRows(heardColumns,
		`INSERT INTO tidings_outbox_sent (position, sent, log, part, off, heard) VALUES `, ` ON CONFLICT (position) DO NOTHING`)
)

// markedOf are the texts that look for what is marked among some positions.
var markedOf = manyOf(`SELECT position, sent FROM tidings_outbox_sent WHERE position IN `)

// errMarked means that another relay has marked an event, so that it must not be counted again.
var errMarked = errors.New("some events are marked")

// mark stores what was published and what can't be, and renews the lease, all in one transaction. It waits out what
// ails the database; once ctx has ended it tries once. What is not marked is published again by the next relay.
func (r *relay) mark(ctx context.Context, out outcome) error {
	if len(out.sent) == 0 && len(out.bad) == 0 {
		return nil
	}
	out.sort()
	delays := newDelays(r.pace)
	for {
		asked := time.Now()
		mine, err := r.markOnce(context.WithoutCancel(ctx), out)
		if errors.Is(err, errMarked) {
			if out.sent, err = r.unmarked(context.WithoutCancel(ctx), out.sent); err == nil {
				continue
			}
		}
		switch {
		case err == nil && mine:
			crashpoint.Pass("outbox.7b")
			r.setRenewed(asked)
			r.reportBad(ctx, out.bad)
			return nil
		case err == nil:
			r.lost(errLost)
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("mark %d events as sent: %w", len(out.sent), err)
		}
		delay := delays.NextBackOff()
		r.log.ErrorContext(ctx, "outbox: published events can't be marked as sent; the relay waits", "err", err, "after", delay)
		sleep(ctx, delay)
	}
}

// markOnce is one try of mark.
func (r *relay) markOnce(ctx context.Context, out outcome) (mine bool, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err = r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		mine, err = r.markIn(ctx, tx, out)
		return err
	})
	return mine, err
}

// markIn does the work of mark in a transaction, and reports whether the lease is still this relay's.
func (r *relay) markIn(ctx context.Context, tx Tx, out outcome) (mine bool, err error) {
	now := any(r.now().UnixMicro()) // made an interface once, and not for each row
	if err := r.insertSent(ctx, tx, out.sent, now); err != nil {
		return false, err
	}
	if err := deleteUnsent(ctx, tx, out.sent); err != nil {
		return false, err
	}
	if err := storeEnds(ctx, tx, out.sent); err != nil {
		return false, err
	}
	if err := insertFailed(ctx, tx, out.bad, now); err != nil {
		return false, err
	}
	var holder string
	err = tx.QueryRowContext(ctx, `UPDATE tidings_outbox_relay
		SET sent = sent + $1, last = CASE WHEN $1 > 0 THEN $2 ELSE last END, unheard = unheard + $3,
			until = CASE holder WHEN $4 THEN $5 ELSE until END
		WHERE id = 1 RETURNING holder`, len(out.sent), now, r.unheard(out.sent), r.holder, r.until()).Scan(&holder)
	crashpoint.Pass("outbox.7a")
	return holder == r.holder, err
}

// unheard counts the events that nobody was listening to.
func (r *relay) unheard(sent []sentRow) (n int) {
	if !r.numbers() {
		return 0
	}
	for i := range sent {
		if sent[i].heard == 0 {
			n++
		}
	}
	return n
}

// unmarked leaves out what is marked already.
func (r *relay) unmarked(ctx context.Context, sent []sentRow) ([]sentRow, error) {
	positions := make([]int64, len(sent))
	for i := range sent {
		positions[i] = sent[i].position
	}
	marked, err := r.lookup(ctx, markedOf, positions)
	return slices.DeleteFunc(sent, func(s sentRow) bool { return marked[s.position] != 0 }), err
}

// insertSent stores where each event went, and without a log how many heard it.
func (r *relay) insertSent(ctx context.Context, tx Tx, sent []sentRow, now any) error {
	texts, withHeard := &markMany, r.numbers()
	if withHeard {
		texts = &heardMany
	}
	args := make([]any, 0, heardColumns*min(len(sent), largestChunk))
	log, logs := "", any("") // most rows have the log of the row before: one value serves them all
	return chunks(len(sent), func(text, from, to int) error {
		args = args[:0]
		for i := range sent[from:to] {
			s := &sent[from+i]
			if s.at.Log != log {
				log, logs = s.at.Log, s.at.Log
			}
			args = append(args, s.position, now, logs, int64(s.at.Partition), s.at.Offset)
			if withHeard {
				args = append(args, int64(s.heard))
			}
		}
		res, err := tx.ExecContext(ctx, texts[text], args...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n < int64(to-from) {
			err = errMarked
		}
		return err
	})
}

// deleteUnsent deletes by runs of positions without a hole, so that nothing is deleted that was not sent.
func deleteUnsent(ctx context.Context, tx Tx, sent []sentRow) error {
	for from := 0; from < len(sent); {
		to := from + 1
		for to < len(sent) && sent[to].position == sent[to-1].position+1 {
			to++
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM tidings_outbox_unsent WHERE position BETWEEN $1 AND $2`,
			sent[from].position, sent[to-1].position)
		if err != nil {
			return err
		}
		from = to
	}
	return nil
}

// insertFailed puts rows aside. They are rare, so each has statements of its own.
func insertFailed(ctx context.Context, tx Tx, bad []badRow, now any) error {
	for _, b := range bad {
		_, err := tx.ExecContext(ctx, `INSERT INTO tidings_outbox_failed (position, failed, error) VALUES ($1, $2, $3)
			ON CONFLICT (position) DO NOTHING`, b.position, now, text8(b.err.Error()))
		if err == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM tidings_outbox_unsent WHERE position = $1`, b.position)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// text8 makes a text of s that every database takes: an error may quote the bytes of a row that is no event.
func text8(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// reportBad logs what was put aside: without a person it is never published.
func (r *relay) reportBad(ctx context.Context, bad []badRow) {
	for _, b := range bad {
		r.log.ErrorContext(ctx, "outbox: a row can't be published and was put aside; the table tidings_outbox_failed keeps why",
			"position", b.position, "err", b.err)
	}
}
