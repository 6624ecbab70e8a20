package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// dropNumbers takes back the numbers of what is unsent, before a bus with a log is given it without them. They would
// be counted as missed otherwise once the database is on a bus without a log again: by every consumer and for ever,
// although each has the events. A numbering has no holes, so the streams that they are of begin a new one.
//
// A stream that is to be its source's first numbering, and has no number yet, gets an ordinary id: what goes over the log
// has no number in it. It is done at once and before anything is published, for afterwards nobody can tell which numbers
// went nowhere.
func (r *relay) dropNumbers(ctx context.Context) error {
	streams, err := r.streamsAnew(ctx)
	if err != nil || len(streams) == 0 {
		return err
	}
	asked, dropped := time.Now(), int64(0)
	ctx, cancel := r.bounded(context.WithoutCancel(ctx))
	defer cancel()
	err = r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		dropped, err = r.dropNumbersIn(ctx, tx, streams)
		return err
	})
	if errors.Is(err, errLost) {
		r.lost(errLost)
	}
	if err != nil {
		return fmt.Errorf("take back the numbers of unsent events: %w", err)
	}
	r.setRenewed(asked)
	if dropped > 0 {
		r.log.InfoContext(ctx, "outbox: unsent events had numbers and now go to a log; their streams will be numbered anew", "events", dropped)
	}
	return nil
}

// dropNumbersIn does the work of dropNumbers. No other relay can have numbered since streams was read, or the lease is
// not this one's.
func (r *relay) dropNumbersIn(ctx context.Context, tx Tx, streams []streamKey) (dropped int64, err error) {
	if err := r.renewIn(ctx, tx); err != nil {
		return 0, err
	}
	for _, s := range streams {
		_, err := tx.ExecContext(ctx, `UPDATE tidings_outbox_stream SET log = $1, seq = 0 WHERE topic = $2 AND source = $3`,
			newSeqLog(), s.topic, s.source)
		if err != nil {
			return 0, err
		}
	}
	res, err := tx.ExecContext(ctx, `DELETE FROM tidings_outbox_seq
		WHERE position IN (SELECT position FROM tidings_outbox_unsent)`)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// unsettled are the streams of which an event has a number and is not known to be published. It starts from the
// short table, as readQuery does.
const unsettled = `SELECT o.topic, o.source
	FROM tidings_outbox_unsent u CROSS JOIN tidings_outbox_seq s CROSS JOIN tidings_outbox o
	WHERE s.position = u.position AND o.position = u.position`

// anewQuery gives the streams that are unsettled, which is over at once where no event was ever numbered, as with an
// owner that has always had a log; and those that would be first numberings.
const anewQuery = `SELECT topic, source FROM (` + unsettled + `) AS unsettled
WHERE EXISTS (SELECT 1 FROM tidings_outbox_seq)
UNION SELECT topic, source FROM tidings_outbox_stream WHERE seq = 0 AND log LIKE '` + bus.SeqLogFirst + `%'`

// streamsAnew reads which streams are not to go on as they are.
func (r *relay) streamsAnew(ctx context.Context) (streams []streamKey, err error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, anewQuery)
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
