package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// resend makes unsent again what a log lacks of the rows that are held, all of it before anything else is published.
// It comes to an end however often it is interrupted: only the last step says that it is done.
func (r *relay) resend(ctx context.Context, l lack) error {
	var again int64
	if err := r.widen(ctx, l.cuts); err != nil {
		return err
	}
	for _, log := range l.old {
		n, err := r.unsend(ctx, `log = $1`, log)
		if err != nil {
			return fmt.Errorf("send again what was in log %q of topic %q: %w", log, l.topic, err)
		}
		again += n
	}
	for _, c := range l.cuts {
		n, err := r.resendCut(ctx, l.log, c)
		if err != nil {
			return fmt.Errorf("send again the end of partition %d of topic %q: %w", c.part, l.topic, err)
		}
		again += n
	}
	lacking, err := r.settle(ctx, l)
	if err != nil {
		return fmt.Errorf("take note of what topic %q lacks: %w", l.topic, err)
	}
	r.log.WarnContext(ctx, "outbox: the log lacks events that were sent; what is still held is sent again",
		"topic", l.topic, "reason", l.reason(), "again", again, "purged and lacking", lacking)
	return nil
}

// widen takes into account what was published and not marked, as much as there is unsent. It may stand behind the place
// of the cut, where it hides what was there, and readers may have seen it behind the old end.
func (r *relay) widen(ctx context.Context, cuts []cut) error {
	if len(cuts) == 0 {
		return nil
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	var unsent int64
	if err := r.db.QueryRowContext(ctx, `SELECT count(*) FROM tidings_outbox_unsent`).Scan(&unsent); err != nil {
		return fmt.Errorf("count unsent events: %w", err)
	}
	for i := range cuts {
		c, more := &cuts[i], min(unsent, r.pace.slack)
		c.from, c.end = max(c.from-more, c.first), c.end+more // what the log has dropped by age is left alone
	}
	return nil
}

// reason is for a line in the log.
func (l lack) reason() string {
	if len(l.old) > 0 {
		return "the topic was made anew"
	}
	return "the log is shorter than it was"
}

// resendCut makes unsent again what was at or behind the end of a partition that was cut.
func (r *relay) resendCut(ctx context.Context, log string, c cut) (again int64, err error) {
	return r.unsend(ctx, `log = $1 AND part = $2 AND off >= $3`, log, int64(c.part), c.from)
}

// unsend makes those rows unsent again for which a condition holds, step by step, so that writers don't wait for it.
func (r *relay) unsend(ctx context.Context, where string, args ...any) (again int64, err error) {
	low, high, err := r.spanOf(ctx, where, args)
	for after := low - 1; err == nil && after < high; {
		if err = ctx.Err(); err != nil {
			break
		}
		last := min(high, after+int64(r.pace.resendStep))
		var n int64
		n, err = r.unsendStep(ctx, where, args, after, last)
		again, after = again+n, last
	}
	return again, err
}

// spanOf is from which position to which there are such rows; the lowest is above the highest where there are none.
func (r *relay) spanOf(ctx context.Context, where string, args []any) (low, high int64, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err = r.db.QueryRowContext(ctx, `SELECT coalesce(min(position), 1), coalesce(max(position), 0)
		FROM tidings_outbox_sent WHERE `+where, args...).Scan(&low, &high)
	return low, high, err
}

// unsendStep is for positions above after and up to last. Rows that are purged meanwhile are locked, and then gone; what
// another relay marks meanwhile stays marked, for only what was deleted is added.
func (r *relay) unsendStep(ctx context.Context, where string, args []any, after, last int64) (again int64, err error) {
	asked := time.Now()
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err = r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		n := len(args)
		positions, err := returned(ctx, tx, fmt.Sprintf(`DELETE FROM tidings_outbox_sent
			WHERE %s AND position > $%d AND position <= $%d RETURNING position`, where, n+1, n+2), append(args[:n:n], after, last)...)
		if err != nil {
			return err
		}
		if err := insertUnsent(ctx, tx, positions); err != nil {
			return err
		}
		again = int64(len(positions))
		if _, err = tx.ExecContext(ctx, `UPDATE tidings_outbox_relay SET sent = sent - $1 WHERE id = 1`, again); err != nil {
			return err
		}
		return r.renewIn(ctx, tx)
	})
	return again, r.renewedBy(asked, err)
}

// renewedBy takes note of a transaction that renewed the lease, or found it gone.
func (r *relay) renewedBy(asked time.Time, err error) error {
	switch {
	case err == nil:
		r.setRenewed(asked)
	case errors.Is(err, errLost):
		r.lost(errLost)
	}
	return err
}

// returned reads the one number of each row that a statement returns.
func returned(ctx context.Context, tx Tx, query string, args ...any) (all []int64, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// unsentMany are the texts of the insert, by number of rows.
var unsentMany = manyRows(1, `INSERT INTO tidings_outbox_unsent (position) VALUES `, ` ON CONFLICT (position) DO NOTHING`)

// insertUnsent adds positions to what is to be sent.
func insertUnsent(ctx context.Context, tx Tx, positions []int64) error {
	args := make([]any, 0, largestChunk)
	return chunks(len(positions), func(text, from, to int) error {
		args = args[:0]
		for _, p := range positions[from:to] {
			args = append(args, p)
		}
		_, err := tx.ExecContext(ctx, unsentMany[text], args...)
		return err
	})
}

// settle is the last step: what is stored of the ends is as the log is, and the purged events that it lacks are counted.
func (r *relay) settle(ctx context.Context, l lack) (lacking int64, err error) {
	asked := time.Now()
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err = r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		purged, err := returned(ctx, tx, `DELETE FROM tidings_outbox_log WHERE topic = $1 AND log <> $2 RETURNING purged`, l.topic, l.log)
		if err != nil {
			return err
		}
		lacking = 0
		for _, n := range purged {
			lacking += n
		}
		for _, c := range l.cuts {
			n, err := r.settleCut(ctx, tx, l, c)
			if err != nil {
				return err
			}
			lacking += n
		}
		_, err = tx.ExecContext(ctx, `UPDATE tidings_outbox_relay SET lacking = lacking + $1,
			lacked = CASE WHEN $1 > 0 THEN $2 ELSE lacked END WHERE id = 1`, lacking, r.now().UnixMicro())
		if err != nil {
			return err
		}
		return r.renewIn(ctx, tx)
	})
	return lacking, r.renewedBy(asked, err)
}

// settleCut lowers an end, has the partition filled again up to the old one, and returns how many of the purged events
// were behind it: as many as there were offsets between the two, or as were purged, for offsets of others are not told
// apart.
func (r *relay) settleCut(ctx context.Context, tx Tx, l lack, c cut) (lacking int64, err error) {
	// SQLite counts arguments in the order of the text.
	all, err := returned(ctx, tx, `UPDATE tidings_outbox_log SET
		next = CASE WHEN next < $1 THEN next ELSE $1 END, seen = CASE WHEN seen < $1 THEN seen ELSE $1 END
		WHERE topic = $2 AND log = $3 AND part = $4
		RETURNING CASE WHEN purged_next <= $1 THEN 0 WHEN purged < purged_next - $1 THEN purged ELSE purged_next - $1 END`,
		c.next, l.topic, l.log, int64(c.part))
	if err != nil || len(all) == 0 {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE tidings_outbox_log SET purged = purged - $1,
		purged_next = CASE WHEN purged_next > $2 THEN $2 ELSE purged_next END,
		refill_low = CASE WHEN refill_to > 0 THEN refill_low ELSE 0 END,
		refill_from = CASE WHEN refill_to > 0 AND refill_from < $3 THEN refill_from ELSE $3 END,
		refill_to = CASE WHEN refill_to > $4 THEN refill_to ELSE $4 END
		WHERE topic = $5 AND log = $6 AND part = $7`,
		all[0], c.next, c.from, c.end, l.topic, l.log, int64(c.part))
	return all[0], err
}
