package inbox

import (
	"context"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// heldEvent is an event that is to wait for versions of its key that are missing.
type heldEvent struct {
	ev     *bus.Event
	source int64
}

// heldKey names a row of the waiting table.
type heldKey struct {
	sourceKey
	version uint64
}

// storeWaiting writes what is to wait, and removes what waits no more. As it shares the transaction of the positions,
// an event is either still to be delivered or in this table, never neither.
func (a *attempt) storeWaiting(ctx context.Context) error {
	const cols = 9
	until := a.now.Add(a.gapWait()).UnixMilli()
	args := make([]any, 0, cols*len(a.hold))
	for _, h := range a.hold {
		e := h.ev
		args = append(args, h.source, e.Key, int64(e.Version), until,
			e.At.Topic, e.At.Log, e.At.Partition, e.At.Offset, e.AppendEnvelope(nil))
	}
	if _, err := execMany(ctx, a.tx, &a.sql.hold, cols, args); err != nil {
		return err
	}
	for _, k := range a.release {
		const text = `DELETE FROM tidings_inbox_waiting WHERE source = $1 AND key = $2 AND version = $3`
		if err := one(a.tx.ExecContext(ctx, text, k.source, k.key, int64(k.version))); err != nil {
			return err
		}
	}
	crashpoint.Pass("inbox.D6")
	return nil
}

// releaseWaiting ends the waiting of events whose time is over, until ctx ends. The times stand in the table, so a
// restart neither forgets nor prolongs them.
func (in *Inbox) releaseWaiting(ctx context.Context) error {
	return in.loop(ctx, "waiting events could not be released and will be tried again", in.held, func(ctx context.Context) (time.Time, error) {
		// Looked up by the pool first: a transaction a second for nothing would hold up the service's own.
		next, err := in.nextRelease(ctx)
		if err != nil || next.IsZero() || next.After(in.cfg.Now()) {
			return next, err
		}
		_, err = in.transact(ctx, func(ctx context.Context, a *attempt) error { return a.releaseDue(ctx) })
		return next, err // look again at once: there may be more
	})
}

// nextRelease says when the next event has waited long enough; zero where none waits.
func (in *Inbox) nextRelease(ctx context.Context) (time.Time, error) {
	const text = `SELECT COALESCE(MIN(w.until), 0) FROM tidings_inbox_waiting w
		JOIN tidings_inbox_source s ON s.id = w.source WHERE s.grp = $1`
	return queryTime(ctx, in.cfg.DB, text, in.cfg.Group)
}

// queryTime reads one time in milliseconds since 1970; 0 is the zero time.
func queryTime(ctx context.Context, q querier, text string, args ...any) (time.Time, error) {
	var ms int64
	if err := q.QueryRowContext(ctx, text, args...).Scan(&ms); err != nil || ms == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(ms), nil
}

// maxReleased bounds the keys that are released in one transaction, so that deliveries don't wait behind it for long.
const maxReleased = 100

// releaseDue records holes before the events that have waited long enough, and applies what waited, in order.
func (a *attempt) releaseDue(ctx context.Context) error {
	const text = `SELECT w.source, w.key, MAX(w.version) FROM tidings_inbox_waiting w
		JOIN tidings_inbox_source s ON s.id = w.source
		WHERE s.grp = $1 AND w.until <= $2 GROUP BY w.source, w.key ORDER BY w.source, w.key LIMIT $3`
	var due []heldKey // the last version of each key that is due
	err := query(ctx, a.tx, func(row scanner) error {
		var k heldKey
		err := row.Scan(&k.source, &k.key, &k.version)
		due = append(due, k)
		return err
	}, text, a.cfg.Group, a.now.UnixMilli(), maxReleased)
	if err != nil || len(due) == 0 {
		return err
	}
	for _, k := range due {
		a.marks = append(a.marks, mark{sourceKey: k.sourceKey})
	}
	h, err := a.readKeys(ctx)
	if err != nil {
		return err
	}
	for i := range a.marks {
		k := h.of(a.marks[i].sourceKey)
		if k == nil {
			continue // another replica has released it meanwhile
		}
		if err := a.releaseKey(ctx, &a.marks[i], due[i].version, k); err != nil {
			return err
		}
	}
	return a.finish(ctx)
}

// releaseKey applies what waits up to version due, whatever is missing before it, and what follows without a gap. Who
// waited longest has waited for all versions before it, so those that came in between need not wait any longer.
func (a *attempt) releaseKey(ctx context.Context, m *mark, due uint64, h *history) error {
	for _, v := range h.waiting {
		if v > m.new+1 {
			if v > due {
				return nil // its own time is still to come
			}
			if err := a.dig(ctx, m.sourceKey, span{m.new + 1, v - 1}); err != nil {
				return err
			}
			a.missing += int64(v - m.new - 1)
		}
		e, err := a.held(ctx, m.sourceKey, v)
		if err != nil {
			return err
		}
		if a.missing > 0 && a.missedFrom == nil {
			a.missedFrom = e
		}
		a.todo = append(a.todo, a.job(&item{ev: e, source: m.source}))
		a.release = append(a.release, heldKey{m.sourceKey, v})
		m.new = max(m.new, v)
	}
	return nil
}
