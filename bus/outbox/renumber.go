package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// dropNumbers takes back the numbers of what is unsent, before a bus with a log is given it without them. They would
// be counted as missed otherwise once the database is on a bus without a log again: by every consumer and for ever,
// although each has the events. A numbering has no holes, so the streams that they are of begin a new one.
//
// It is done at once and before anything is published, for afterwards nobody can tell which numbers went nowhere.
func (r *relay) dropNumbers(ctx context.Context) error {
	streams, err := r.numberedUnsent(ctx)
	if err != nil || len(streams) == 0 {
		return err
	}
	asked := time.Now()
	ctx, cancel := r.bounded(context.WithoutCancel(ctx))
	defer cancel()
	err = r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		return r.dropNumbersIn(ctx, tx, streams)
	})
	if errors.Is(err, errLost) {
		r.lost(errLost)
	}
	if err != nil {
		return fmt.Errorf("take back the numbers of unsent events: %w", err)
	}
	r.setRenewed(asked)
	r.log.InfoContext(ctx, "outbox: unsent events had numbers and now go to a log; their streams will be numbered anew", "streams", len(streams))
	return nil
}

// dropNumbersIn does the work of dropNumbers. No other relay can have numbered since streams was read, or the lease is
// not this one's.
func (r *relay) dropNumbersIn(ctx context.Context, tx Tx, streams []streamKey) error {
	if err := r.renewIn(ctx, tx); err != nil {
		return err
	}
	for _, s := range streams {
		_, err := tx.ExecContext(ctx, `UPDATE tidings_outbox_stream SET log = $1, seq = 0 WHERE topic = $2 AND source = $3`,
			newSeqLog(), s.topic, s.source)
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM tidings_outbox_seq
		WHERE position IN (SELECT position FROM tidings_outbox_unsent)`)
	return err
}

// unsettled are the streams of which an event has a number and is not known to be published. It starts from the
// short table, as readQuery does.
const unsettled = `SELECT o.topic, o.source
	FROM tidings_outbox_unsent u CROSS JOIN tidings_outbox_seq s CROSS JOIN tidings_outbox o
	WHERE s.position = u.position AND o.position = u.position`

// numberedQuery is over at once where no event was ever numbered, as with an owner that has always had a log.
const numberedQuery = `SELECT DISTINCT topic, source FROM (` + unsettled + `) AS unsettled
WHERE EXISTS (SELECT 1 FROM tidings_outbox_seq)`

// numberedUnsent reads which streams are unsettled.
func (r *relay) numberedUnsent(ctx context.Context) (streams []streamKey, err error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, numberedQuery)
	if err != nil {
		return nil, fmt.Errorf("look for numbers of unsent events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s streamKey
		if err := rows.Scan(&s.topic, &s.source); err != nil {
			return nil, fmt.Errorf("look for numbers of unsent events: %w", err)
		}
		streams = append(streams, s)
	}
	return streams, rows.Err()
}
