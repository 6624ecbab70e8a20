package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Retry makes parked events due at once, with all their attempts before them, and returns how many. A dead reaction goes
// back into the queue at its old place, ahead of what is still queued of its key; where one of those is being performed
// just now, it waits for the end of that one's lease. What waits behind an earlier event of its key, and what is no
// event, is refused: see [ErrBehind] and [ErrNoEvent]. The error joins those of the ids that could not be retried; the
// others are.
func (p *Parking) Retry(ctx context.Context, ids ...int64) (n int, err error) {
	var faults []error
	for _, id := range ids {
		err := p.writer.InOwnTx(ctx, func(ctx context.Context, tx Tx) error { return p.retry(ctx, tx, id) })
		if err != nil {
			faults = append(faults, fmt.Errorf("inbox: parking: retry event %d: %w", id, err))
			continue
		}
		n++
	}
	return n, errors.Join(faults...)
}

// retry changes one row and locks nothing else of the key: whoever has the key in hand has locked the row, too, and
// what it leaves is seen then. A reaction's row nobody locks by its key, so there the mark is locked before it.
func (p *Parking) retry(ctx context.Context, tx Tx, id int64) error {
	e, _, err := p.get(ctx, tx, id, "")
	if err == nil && e.Reaction {
		_, _, err = p.lockMark(ctx, tx, &e)
	}
	if err != nil {
		return err
	}
	e, at, err := p.get(ctx, tx, id, p.forUpdate())
	if err != nil {
		return err
	}
	ev, err := e.event()
	switch {
	case err != nil:
		return err
	case e.State == stateBehind:
		return ErrBehind
	case e.Reaction:
		return p.requeue(ctx, tx, &e, &ev, at.seq)
	}
	const text = `UPDATE tidings_inbox_parked SET state = 'parked', attempts = 0, next = $1 WHERE id = $2`
	return one(tx.ExecContext(ctx, text, time.Now().UnixMilli(), id))
}

func (p *Parking) forUpdate() string { return p.writer.Dialect().ForUpdate() }

// requeue puts a dead reaction back into the queue. Its key's rows there are locked: none of them is being claimed
// meanwhile, for two of one key must not be performed at once. And none is added, for the key's mark is locked.
func (p *Parking) requeue(ctx context.Context, tx Tx, e *ParkedEvent, ev *bus.Event, seq int64) error {
	source, ok, err := findSource(ctx, tx, e.Group, e.Source)
	if err == nil && !ok {
		err = errors.New("its source is not known")
	}
	if err != nil {
		return err
	}
	due := time.Now().UnixMilli()
	err = query(ctx, tx, func(row scanner) error {
		var state State
		var lease int64
		err := row.Scan(&state, &lease)
		if state == Sending {
			due = max(due, lease)
		}
		return err
	}, `SELECT state, due FROM tidings_inbox_queue WHERE source = $1 AND key = $2 ORDER BY seq`+p.forUpdate(), source, ev.Key)
	if err != nil {
		return err
	}
	const text = `INSERT INTO tidings_inbox_queue (seq, source, key, state, attempts, due, owner, error, topic, log, part, off, envelope)
		VALUES ($1, $2, $3, $4, 0, $5, '', $6, $7, $8, $9, $10, $11)`
	_, err = tx.ExecContext(ctx, text, seq, source, ev.Key, string(Queued), due, e.Error,
		e.At.Topic, e.At.Log, e.At.Partition, e.At.Offset, e.Raw)
	if err != nil {
		return err
	}
	return removeRow(ctx, tx, e.ID)
}

func removeRow(ctx context.Context, tx Tx, id int64) error {
	return one(tx.ExecContext(ctx, `DELETE FROM tidings_inbox_parked WHERE id = $1`, id))
}

// DiscardedEvent is an event that a person has discarded.
type DiscardedEvent struct {
	ParkedEvent           // as it stood; Next is zero, and Raw is nil where many are listed
	Why         string    // what the person gave
	Discarded   time.Time // when
}

// Discard removes a parked event for good, and keeps a record of it with why, which must not be empty: see Discarded. Of
// a history its version becomes a hole, which [Inbox.Holes] tells; should the event come again, it is taken as one that
// comes late for a hole. What waits behind it follows. The error wraps [ErrNotParked] where there is no such row.
func (p *Parking) Discard(ctx context.Context, id int64, why string) error {
	err := errors.New("why is empty")
	if why != "" {
		err = p.writer.InOwnTx(ctx, func(ctx context.Context, tx Tx) error { return p.discard(ctx, tx, id, why) })
	}
	if err != nil {
		return fmt.Errorf("inbox: parking: discard event %d: %w", id, err)
	}
	return nil
}

// discard locks the key's mark before the row, as all do who change a line.
func (p *Parking) discard(ctx context.Context, tx Tx, id int64, why string) error {
	e, _, err := p.get(ctx, tx, id, "")
	if err != nil {
		return err
	}
	k, mark, err := p.lockMark(ctx, tx, &e)
	if err != nil {
		return err
	}
	e, at, err := p.get(ctx, tx, id, p.forUpdate())
	if err != nil {
		return err
	}
	const keep = `INSERT INTO tidings_inbox_discarded (` + listColumns + `, raw, why, discarded)
		SELECT ` + listColumns + `, raw, CAST($1 AS TEXT), CAST($2 AS BIGINT) FROM tidings_inbox_parked WHERE id = $3`
	now := time.Now()
	if err := one(tx.ExecContext(ctx, keep, errorText(errors.New(why)), now.UnixMilli(), id)); err != nil {
		return err
	}
	if err := removeRow(ctx, tx, id); err != nil {
		return err
	}
	if at.line > 0 {
		if err := promote(ctx, tx, k, e.Have, now); err != nil {
			return err
		}
	}
	if e.Reaction || k.loose || e.Version > mark {
		return nil
	}
	return p.dig(ctx, tx, k, &e)
}

// lockMark names the line of a row, and locks the key's mark. Where there is none it is 0: the row is no event's, or
// that of one without a version.
func (p *Parking) lockMark(ctx context.Context, tx Tx, e *ParkedEvent) (k lineKey, mark uint64, err error) {
	k = lineKey{sourceKey{0, e.Key}, e.Version == 0}
	var ok bool
	if k.source, ok, err = findSource(ctx, tx, e.Group, e.Source); err != nil || !ok || k.loose {
		return k, 0, err
	}
	const text = `SELECT version FROM tidings_inbox_mark WHERE source = $1 AND key = $2`
	var version int64
	err = tx.QueryRowContext(ctx, text+p.forUpdate(), k.source, k.key).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return k, 0, nil
	}
	return k, uint64(version), err
}

// dig records the hole that a discarded version of a history leaves.
func (p *Parking) dig(ctx context.Context, tx Tx, k lineKey, e *ParkedEvent) error {
	const text = `INSERT INTO tidings_inbox_hole (source, key, first, last)
		SELECT CAST($1 AS BIGINT), CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS BIGINT) FROM tidings_inbox_group WHERE grp = $5 AND history = 1 ON CONFLICT (source, key, first) DO NOTHING`
	_, err := tx.ExecContext(ctx, text, k.source, k.key, int64(e.Version), int64(e.Version), e.Group)
	return err
}

// Discarded returns what persons have discarded, in order of the rows' ids, without the bytes: page as List does.
func (p *Parking) Discarded(ctx context.Context, f Filter) ([]DiscardedEvent, error) {
	where, args := f.where()
	var all []DiscardedEvent
	err := query(ctx, p.db, func(row scanner) error {
		var e DiscardedEvent
		var at int64
		err := scanListed(row, &e.ParkedEvent, &e.Why, &at)
		e.Discarded = time.UnixMilli(at)
		all = append(all, e)
		return err
	}, `SELECT `+listColumns+`, why, discarded FROM tidings_inbox_discarded`+where, args...)
	if err != nil {
		return nil, fmt.Errorf("inbox: parking: list what was discarded: %w", err)
	}
	return all, nil
}

// GetDiscarded returns one discarded event with its bytes, or an error that wraps [ErrNotParked].
func (p *Parking) GetDiscarded(ctx context.Context, id int64) (DiscardedEvent, error) {
	const text = `SELECT ` + listColumns + `, why, discarded, raw FROM tidings_inbox_discarded WHERE id = $1`
	var e DiscardedEvent
	var at int64
	err := scanListed(p.db.QueryRowContext(ctx, text, id), &e.ParkedEvent, &e.Why, &at, &e.Raw)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotParked
	}
	if err != nil {
		return DiscardedEvent{}, fmt.Errorf("inbox: parking: discarded event %d: %w", id, err)
	}
	e.Discarded = time.UnixMilli(at)
	return e, nil
}
