package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// keepPurging deletes from time to time what was sent longer than Keep ago, in small transactions, so that writers
// don't wait for it. It begins when the logs were looked at: what one lacks may be sent again for as long as it is held.
// A topic whose log has not answered yet is left out.
func (r *relay) keepPurging(ctx context.Context) {
	select {
	case <-r.logs.first:
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		n, err := r.purge(ctx, r.logs.unpurged()...)
		switch {
		case err != nil && ctx.Err() == nil:
			r.log.WarnContext(ctx, "outbox: what was sent long ago could not be purged", "err", err)
		case n > 0:
			r.log.DebugContext(ctx, "outbox: purged", "rows", n)
		}
		sleep(ctx, r.pace.purgeEvery)
	}
}

// purge deletes step by step, from the lowest position up, until a step finds nothing old enough: events were sent
// nearly in the order of their positions. Nothing of the topics in without is deleted. It returns how many rows it has deleted.
func (r *relay) purge(ctx context.Context, without ...string) (deleted int64, err error) {
	before := r.now().Add(-r.keep).UnixMicro()
	old := newOld(before, without)
	for after, found := int64(0), true; found && ctx.Err() == nil; {
		var last int64
		if last, found, err = r.oldest(ctx, after, before); err != nil || !found {
			return deleted, err
		}
		n, err := r.purgeStep(ctx, after, last, old)
		if err != nil {
			return deleted, err
		}
		crashpoint.Pass("outbox.8b")
		deleted, after = deleted+n, last
		sleep(ctx, time.Millisecond) // the writers' turn
	}
	return deleted, nil
}

// oldest looks at the next few rows above after: where they end, and whether any was sent before a time.
func (r *relay) oldest(ctx context.Context, after, before int64) (last int64, found bool, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err = r.db.QueryRowContext(ctx, `SELECT coalesce(max(position), 0), coalesce(min(sent), $1) < $1 FROM
		(SELECT position, sent FROM tidings_outbox_sent WHERE position > $2 ORDER BY position LIMIT $3) AS step`,
		before, after, r.pace.purgeStep).Scan(&last, &found)
	return last, found, err
}

// old is a condition on tidings_outbox_sent: what is to be purged between two positions, the first two arguments.
type old struct {
	where string
	args  []any // behind the positions
}

// newOld is for what was sent before a time, of all topics but some. To leave out none must cost nothing.
func newOld(before int64, without []string) old {
	o := old{`position > $1 AND position <= $2 AND sent < $3`, []any{before}}
	if len(without) == 0 {
		return o
	}
	var list strings.Builder
	for i, topic := range without {
		fmt.Fprintf(&list, ", $%d", i+4)
		o.args = append(o.args, topic)
	}
	o.where += ` AND NOT EXISTS (SELECT 1 FROM tidings_outbox e
		WHERE e.position = tidings_outbox_sent.position AND e.topic IN (` + list.String()[2:] + `))`
	return o
}

// between are the arguments.
func (o old) between(after, last int64) []any { return append([]any{after, last}, o.args...) }

// purgeStep deletes events, numbers and places together, so that none outlives the others at a crash.
func (r *relay) purgeStep(ctx context.Context, after, last int64, o old) (deleted int64, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	args := o.between(after, last)
	err = r.w.InTx(ctx, func(ctx context.Context, tx Tx) error {
		if err := r.notePurged(ctx, tx, o, args); err != nil {
			return err
		}
		for _, table := range [...]string{"tidings_outbox", "tidings_outbox_seq"} {
			_, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE position IN (
				SELECT position FROM tidings_outbox_sent WHERE `+o.where+`)`, args...)
			if err != nil {
				return err
			}
		}
		res, err := tx.ExecContext(ctx, `DELETE FROM tidings_outbox_sent WHERE `+o.where, args...)
		if err != nil {
			return err
		}
		deleted, err = res.RowsAffected()
		crashpoint.Pass("outbox.8a")
		return err
	})
	return deleted, err
}

// notePurged counts what is to be purged, by log and partition, to tell later how much of it a log lacks. It locks the
// rows: those that are to be sent again just now must not lose their events.
func (r *relay) notePurged(ctx context.Context, tx Tx, o old, args []any) error {
	if lock := r.w.Dialect().ForUpdate(); lock != "" {
		_, err := tx.ExecContext(ctx, `SELECT 1 FROM tidings_outbox_sent WHERE `+o.where+` ORDER BY position`+lock, args...)
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO tidings_outbox_log (topic, log, part, next, purged, purged_next)
		SELECT o.topic, s.log, s.part, max(s.off) + 1, count(*), max(s.off) + 1
		FROM (SELECT position, log, part, off FROM tidings_outbox_sent WHERE `+o.where+` AND off >= 0) s
		JOIN tidings_outbox o ON o.position = s.position
		GROUP BY o.topic, s.log, s.part ORDER BY o.topic, s.log, s.part
		ON CONFLICT (topic, log, part) DO UPDATE SET purged = tidings_outbox_log.purged + excluded.purged,
			purged_next = CASE WHEN excluded.purged_next > tidings_outbox_log.purged_next
				THEN excluded.purged_next ELSE tidings_outbox_log.purged_next END`, args...)
	return err
}
