package outbox

import (
	"context"
	"errors"
	"time"
)

// errLost ends the work of a relay whose lease another one has taken.
var errLost = errors.New("the relay's lease was lost")

// lease is the row that says who relays.
type lease struct {
	holder string
	until  int64 // microseconds since 1970
}

// free reports whether nobody holds the lease but this relay, as far as clocks can tell: it was given back, or ran out
// longer ago than clocks may differ by. It is this relay's own where the answer to the taking was lost.
func (r *relay) free(l lease) bool {
	return l.holder == "" || l.holder == r.holder || l.until <= r.now().Add(-r.pace.skew).UnixMicro()
}

// acquire waits until the lease is this relay's. It returns an error only when ctx has ended.
//
// Replicas on other hosts have other clocks, so what counts is that the row has not changed for as long as the lease
// lasts, by this process's own clock. What the row says of the time spares that wait to one who starts when the
// holder is long dead: on SQLite, where all have one clock, once the lease has run out, and on Postgres a minute
// later. So clocks that differ by less than a minute hand nothing over that is held; those that differ by more do it
// too early, once, and what comes of that is repeats.
func (r *relay) acquire(ctx context.Context) error {
	var seen lease
	var since time.Time
	for ctx.Err() == nil {
		l, err := r.readLease(ctx)
		if err == nil && l != seen {
			seen, since = l, time.Now()
		}
		if err == nil && (r.free(l) || time.Since(since) >= r.pace.lease) {
			var taken bool
			if taken, err = r.take(ctx, l); taken {
				return nil
			}
		}
		wait := r.pace.standby
		if err != nil && ctx.Err() == nil {
			wait = r.faults.NextBackOff()
			r.log.ErrorContext(ctx, "outbox: the relay can't get its lease", "err", err, "after", wait)
		}
		sleep(ctx, wait)
	}
	return ctx.Err()
}

// readLease reads without taking the writer's turn: those who wait do it ten times a second.
func (r *relay) readLease(ctx context.Context) (l lease, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err = r.db.QueryRowContext(ctx, `SELECT holder, until FROM tidings_outbox_relay WHERE id = 1`).Scan(&l.holder, &l.until)
	return l, err
}

// take takes the lease unless somebody was faster.
func (r *relay) take(ctx context.Context, seen lease) (taken bool, err error) {
	asked := time.Now()
	taken, err = r.changeLease(ctx,
		`UPDATE tidings_outbox_relay SET holder = $1, until = $2 WHERE id = 1 AND holder = $3 AND until = $4`,
		r.holder, r.until(), seen.holder, seen.until)
	if taken {
		r.setRenewed(asked)
		r.faults.Reset()
	}
	return taken, err
}

// until is the end of a lease that is taken or renewed now.
func (r *relay) until() int64 { return r.now().Add(r.pace.lease).UnixMicro() }

// changeLease changes the row if it is still what the query says, and reports whether it was.
func (r *relay) changeLease(ctx context.Context, query string, args ...any) (changed bool, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err = r.w.InTx(ctx, func(ctx context.Context, tx Tx) error {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		changed = n == 1
		return err
	})
	return changed && err == nil, err
}

// setRenewed notes when the lease was renewed: when that was asked for, not when it was answered.
func (r *relay) setRenewed(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewed = t
}

// sinceRenewed is by the process's own clock, which no one can set.
func (r *relay) sinceRenewed() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.renewed)
}

// keepRenewing renews the lease where no batch was marked for a third of it, and ends the work when it is lost.
func (r *relay) keepRenewing(ctx context.Context) {
	tick := time.NewTicker(r.pace.lease / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.sinceRenewed() < r.pace.lease/3 {
			continue
		}
		// A fault of the database is none of the lease, until it may be somebody else's.
		if err := r.renew(ctx); errors.Is(err, errLost) || err != nil && r.sinceRenewed() > r.pace.lease {
			r.lost(errors.Join(errLost, err))
			return
		}
	}
}

// renew makes the lease last anew. It holds even after its end, where nobody has taken it.
func (r *relay) renew(ctx context.Context) error {
	asked := time.Now()
	mine, err := r.changeLease(ctx, renewQuery, r.until(), r.holder)
	switch {
	case err != nil:
		return err
	case !mine:
		return errLost
	}
	r.setRenewed(asked)
	return nil
}

// renewIn renews the lease in a transaction whose work is none of a relay that has lost it.
func (r *relay) renewIn(ctx context.Context, tx Tx) error {
	res, err := tx.ExecContext(ctx, renewQuery, r.until(), r.holder)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n != 1 {
		err = errLost
	}
	return err
}

// renewQuery changes nothing where the lease is another's.
const renewQuery = `UPDATE tidings_outbox_relay SET until = $1 WHERE id = 1 AND holder = $2`

// giveBack gives the lease up, so that the next relay starts at once.
func (r *relay) giveBack(ctx context.Context) {
	_, err := r.changeLease(context.WithoutCancel(ctx),
		`UPDATE tidings_outbox_relay SET holder = '', until = 0 WHERE id = 1 AND holder = $1`, r.holder)
	if err != nil {
		r.log.WarnContext(ctx, "outbox: the relay's lease could not be given back; the next one waits for its end",
			"err", err, "lease", r.pace.lease)
	}
}
