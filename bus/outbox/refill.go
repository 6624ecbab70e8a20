package outbox

import (
	"context"
	"fmt"
	"time"
)

// A reader that did not look while the log was short goes on where it was, in the midst of what was sent after the cut.
// What stands in front of that place it never reads: if the old log had repeats there and the new one has not, a new
// event may be among it. No reader can have been further than the old end. So what was sent since the cut is sent again
// until none of it stands in front of the old end. That adds about as many repeats as offsets were lost.

// refill is where in a partition nothing that is marked may stay: from the place of the cut to the old end. low is the
// lowest position that was marked since the last look, 0 for none: so a look goes through no rows but those.
type refill struct{ from, to, low int64 }

// readRefills reads what is still to be filled.
func (r *relay) readRefills(ctx context.Context) (map[logPart]refill, error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, `SELECT topic, log, part, refill_from, refill_to, refill_low FROM tidings_outbox_log WHERE refill_to > 0`)
	if err != nil {
		return nil, fmt.Errorf("read where logs were cut: %w", err)
	}
	defer rows.Close()
	all := make(map[logPart]refill)
	for rows.Next() {
		var p logPart
		var f refill
		if err := rows.Scan(&p.topic, &p.log, &p.part, &f.from, &f.to, &f.low); err != nil {
			return nil, fmt.Errorf("read where logs were cut: %w", err)
		}
		all[p] = f
	}
	return all, rows.Err()
}

// refillPart has sent again what stands in front of the old end of a partition, whose log goes up to next, and says how
// many events that were, and whether nothing is left to do.
func (r *relay) refillPart(ctx context.Context, p logPart, f refill, next int64) (again int64, full bool, err error) {
	if f.low > 0 {
		again, err = r.unsend(ctx, `log = $1 AND part = $2 AND off >= $3 AND off < $4 AND position >= $5`,
			p.log, int64(p.part), f.from, f.to, f.low)
	}
	if full = again == 0 && next >= f.to; err == nil && (full || f.low > 0) {
		err = r.storeRefill(ctx, p, f, full)
	}
	if err != nil {
		return 0, false, fmt.Errorf("fill partition %d of topic %q: %w", p.part, p.topic, err)
	}
	return again, full, nil
}

// storeRefill takes note of a look, and of its being the last one; not where a cut was found, or more was marked, since.
func (r *relay) storeRefill(ctx context.Context, p logPart, f refill, full bool) error {
	set := `refill_low = 0`
	if full {
		set = `refill_from = 0, refill_to = 0, refill_low = 0`
	}
	asked := time.Now()
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE tidings_outbox_log SET `+set+`
			WHERE topic = $1 AND log = $2 AND part = $3 AND refill_to = $4 AND refill_low = $5`,
			p.topic, p.log, int64(p.part), f.to, f.low)
		if err != nil {
			return err
		}
		return r.renewIn(ctx, tx)
	})
	return r.renewedBy(asked, err)
}
