package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"google.golang.org/protobuf/proto"
)

const (
	maxRetried = 100 // rows that are looked up at a time
	// A key that another has locked is left alone for so long, and one whose try meets a fault of the store.
	restBusy  = 100 * time.Millisecond
	restFault = 5 * time.Second
)

// retrier tries parked events again. Its goroutine is the only one in this process that does.
type retrier struct {
	*Inbox
	resting map[int64]time.Time // rows that are due and left alone until then
}

// dueRow is a row that is to be tried, as it was looked up.
type dueRow struct {
	id          int64
	line        int64
	source, key string
	version     int64
}

// retryParked tries parked events again when they are due, until ctx ends. Times and attempts stand in the table, so a
// restart neither forgets nor prolongs them, and what another process writes there is found within a second.
func (in *Inbox) retryParked(ctx context.Context) error {
	r := &retrier{Inbox: in, resting: make(map[int64]time.Time)}
	return in.loop(ctx, "parked events could not be looked up and will be tried again", in.wakeParked, r.step)
}

// step tries what is due, each key for itself, and says when to look again.
func (r *retrier) step(ctx context.Context) (time.Time, error) {
	now := r.cfg.Now()
	for id, until := range r.resting {
		if !until.After(now) {
			delete(r.resting, id)
		}
	}
	next, err := r.nextRetry(ctx)
	if err != nil || next.IsZero() || next.After(now) {
		return next, err
	}
	rows, err := r.due(ctx, now)
	if err != nil {
		return time.Time{}, err
	}
	tried := false
	for _, row := range rows {
		if _, rests := r.resting[row.id]; rests {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		tried = true
		r.one(ctx, row)
	}
	if !tried {
		return now.Add(restBusy), nil
	}
	return now, nil // look again at once: there may be more
}

// one tries a row, and lets it rest where that says nothing about the event.
func (r *retrier) one(ctx context.Context, row dueRow) {
	busy := false
	a, err := r.try(ctx, attempt{retrying: true, sifting: true}, func(ctx context.Context, a *attempt) (err error) {
		busy, err = a.retry(ctx, row)
		return err
	})
	switch {
	case err == nil && !busy:
		crashpoint.Pass("inbox.P3b")
		r.committed(ctx, a)
	case err == nil:
		r.resting[row.id] = r.cfg.Now().Add(restBusy)
	case ctx.Err() == nil:
		r.resting[row.id] = r.cfg.Now().Add(restFault)
		r.log.WarnContext(ctx, "a parked event could not be tried, which is not its fault", "row", row.id, "source", row.source,
			"key", row.key, "version", row.version, "after", restFault, "err", err)
	}
}

// nextRetry says when the next row is due; zero where none is.
func (in *Inbox) nextRetry(ctx context.Context) (time.Time, error) {
	const text = `SELECT COALESCE(MIN(next), 0) FROM tidings_inbox_parked WHERE grp = $1 AND state = 'parked'`
	return queryTime(ctx, in.cfg.DB, text, in.cfg.Group)
}

func (r *retrier) due(ctx context.Context, now time.Time) (rows []dueRow, err error) {
	const text = `SELECT id, line, source, key, version FROM tidings_inbox_parked
		WHERE grp = $1 AND state = 'parked' AND next <= $2 ORDER BY next, id LIMIT $3`
	err = query(ctx, r.cfg.DB, func(row scanner) error {
		var d dueRow
		err := row.Scan(&d.id, &d.line, &d.source, &d.key, &d.version)
		rows = append(rows, d)
		return err
	}, text, r.cfg.Group, now.UnixMilli(), maxRetried+len(r.resting))
	return rows, err
}

// retry tries one row and, when it succeeds, those that wait behind it. The steps are those of the package's
// documentation. busy says that another holds the key.
func (a *attempt) retry(ctx context.Context, d dueRow) (busy bool, err error) {
	k, err := a.lineOf(ctx, d)
	if err != nil {
		return false, err
	}
	mark, busy, err := a.lockKey(ctx, k)
	if busy || err != nil {
		return busy, err
	}
	head, err := a.lockRow(ctx, d.id, k.loose)
	if err != nil || head == nil {
		return k.loose, err // another has done it, or holds it
	}
	if head.state != stateParked || head.next > a.now.UnixMilli() || head.line != d.line {
		return false, nil // another has tried it, or a person has changed it, since it was looked up
	}
	if !a.strict(k) {
		if head, err = a.newest(ctx, k, head, mark); head == nil {
			return false, err
		}
	}
	crashpoint.Pass("inbox.P1")
	return false, a.retryLine(ctx, k, head)
}

// lineOf names the line of a row, or the one that it would stand in.
func (a *attempt) lineOf(ctx context.Context, d dueRow) (k lineKey, err error) {
	k = lineKey{sourceKey{max(d.line, -d.line), d.key}, d.version == 0}
	if d.line == 0 {
		k.source, err = a.sourceID(ctx, d.source)
	}
	return k, err
}

// lockKey locks a key's mark, which everybody locks who changes what is parked of it, and returns the mark. It waits for
// nobody: one who has the key may be calling a slow handler.
func (a *attempt) lockKey(ctx context.Context, k lineKey) (mark uint64, busy bool, err error) {
	if k.loose {
		return 0, false, nil // the row itself is locked
	}
	const text = `SELECT version FROM tidings_inbox_mark WHERE source = $1 AND key = $2`
	var version int64
	err = a.tx.QueryRowContext(ctx, text+a.skipLocked(), k.source, k.key).Scan(&version)
	if !errors.Is(err, sql.ErrNoRows) {
		return uint64(version), false, err
	}
	err = a.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM tidings_inbox_mark WHERE source = $1 AND key = $2)`, k.source, k.key).Scan(&busy)
	return 0, busy, err
}

func (in *Inbox) skipLocked() string {
	if in.forUpdate == "" {
		return ""
	}
	return in.forUpdate + " SKIP LOCKED"
}

// newest returns the row that is to be tried of a projection's key, which is its newest version; nil where a newer one
// has been applied meanwhile. All others do nothing but go away.
func (a *attempt) newest(ctx context.Context, k lineKey, due *parkedRow, mark uint64) (*parkedRow, error) {
	p := *due
	if due.line != 0 {
		const text = `SELECT ` + rowColumns + ` FROM tidings_inbox_parked
			WHERE line IN ($1, $2) AND key = $3 AND version > 0 ORDER BY version DESC LIMIT 1`
		var err error
		if p, err = scanRow(a.tx.QueryRowContext(ctx, text, k.source, -k.source, k.key)); err != nil {
			return nil, err
		}
		if err := a.clear(ctx, k, p.ev.Version-1); err != nil {
			return nil, err
		}
	}
	// Without a mark the projection is being built anew, and the event comes again.
	if mark > 0 && mark <= p.upto {
		return &p, nil
	}
	a.gone = append(a.gone, p)
	return nil, a.remove(ctx, p.id)
}

// clear removes a projection's parked versions up to v.
func (a *attempt) clear(ctx context.Context, k lineKey, v uint64) error {
	const text = `DELETE FROM tidings_inbox_parked WHERE line IN ($1, $2) AND key = $3 AND version > 0 AND version <= $4`
	_, err := a.tx.ExecContext(ctx, text, k.source, -k.source, k.key, int64(v))
	return err
}

func (a *attempt) remove(ctx context.Context, id int64) error {
	return one(a.tx.ExecContext(ctx, `DELETE FROM tidings_inbox_parked WHERE id = $1`, id))
}

// retryLine tries head and, if it succeeds, what waits behind it, and writes down what that came to.
func (a *attempt) retryLine(ctx context.Context, k lineKey, head *parkedRow) error {
	rows := []parkedRow{*head}
	a.todo = a.jobsOf(k, rows)
	err := a.tryRows(ctx, a.todo)
	if err == nil && a.todo[0].was != jobFailed && a.strict(k) && head.line != 0 {
		var behind []parkedRow
		if behind, err = a.behind(ctx, k); err == nil {
			jobs := a.jobsOf(k, behind)
			err = a.tryRows(ctx, jobs)
			rows, a.todo = append(rows, behind...), append(a.todo, jobs...)
		}
	}
	if err != nil {
		return err
	}
	crashpoint.Pass("inbox.P2")
	if err := a.settleRows(ctx, k, rows); err != nil {
		return fmt.Errorf("parked events: %w", err)
	}
	if err := a.storeReactions(ctx); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	crashpoint.Pass("inbox.P3a")
	return a.storeCounts(ctx)
}

// tryRows runs the handlers of rows. Bytes that can't be read as an event any more are at fault by themselves.
func (a *attempt) tryRows(ctx context.Context, jobs []job) error {
	for i := range jobs {
		if why := unfit(jobs[i].ev); why != nil {
			jobs[i].h = &handlers{effect: &Route{event: func(context.Context, Tx, *bus.Event, proto.Message) error { return bus.Permanent(why) }}}
		}
	}
	return a.sieve(ctx, jobs, false)
}

func (a *attempt) jobsOf(k lineKey, rows []parkedRow) []job {
	jobs := make([]job, len(rows))
	for i := range rows {
		jobs[i] = a.job(&item{ev: rows[i].ev, source: k.source, late: rows[i].line == 0})
	}
	return jobs
}
