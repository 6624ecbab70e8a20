package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// pass publishes what is unsent and was visible at its start, from the lowest position up; more reports that there is
// reason for another one at once. The next batch is read, and the one before is marked, while one is being published.
//
// No pass goes on from where another ended: on Postgres transactions commit in another order than the one in which they
// got their positions, and a late one would be missed. What keeps the order of a key inside the pass, for the same reason,
// is that all its batches are read from one state of the database: see snapshot.
func (r *relay) pass(ctx context.Context) (more bool, err error) {
	r.skipped, r.past = 0, 0
	if _, high, err := r.bounds(ctx); err != nil || high == 0 {
		return false, err
	}
	end, err := r.snapshot(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	low, high, err := r.bounds(ctx)
	if err != nil || high == 0 {
		return false, err
	}
	if r.held.sample > 0 {
		return r.samplePass(ctx, low, high)
	}
	marked := finished(error(nil))
	defer func() { err = errors.Join(err, <-marked) }()

	began, held := time.Now(), r.topics.names()
	b, err := r.read(ctx, low-1, high, held)
	if len(held) > 0 {
		r.past = time.Since(began)
	}
	for total := 0; err == nil && b.any(); {
		ahead := r.readAhead(ctx, b, high)
		crashpoint.Pass("outbox.3b")
		out, failed := r.send(ctx, b)
		before := <-marked
		marked = r.markBehind(ctx, out, b.full)
		next := <-ahead
		total += len(out.sent)
		if err = errors.Join(failed, before, next.err); err != nil || ctx.Err() != nil || r.held.stuck() {
			return false, err
		}
		switch b = next.batch; {
		case !b.any():
		case r.skipped >= r.pace.maxSkipped:
			return false, nil // what is above has to wait until some keys get through
		case total >= r.pace.pass:
			return true, nil
		}
	}
	return false, err
}

// snapshot has everything read from one state of the database, until end is called. A transaction that is committed
// between two batches would else show the one its later events without its earlier ones, which the other had gone past:
// on Postgres its positions may lie on both sides. On SQLite positions are committed in their order, and the bound at the
// top is enough.
func (r *relay) snapshot(ctx context.Context) (end func(), err error) {
	if r.w.Dialect() != sqldb.Postgres {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(ctx) // the transaction ends with it, so a bound can't be its deadline
	late := time.AfterFunc(r.pace.answer, cancel)
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	late.Stop()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("look for unsent events: %w", err)
	}
	r.view = tx
	return func() {
		r.view = r.db
		late := time.AfterFunc(r.pace.answer, cancel)
		_ = tx.Rollback() // it has only read
		late.Stop()
		cancel()
	}, nil
}

// outcome is what is to be marked.
type outcome struct {
	sent []sentRow
	bad  []badRow
}

// readResult is a batch or why there is none.
type readResult struct {
	batch *batch
	err   error
}

// readAhead reads what comes after b, if anything does.
func (r *relay) readAhead(ctx context.Context, b *batch, high int64) <-chan readResult {
	if !b.full {
		return finished(readResult{batch: &batch{}})
	}
	held := r.topics.names() // now: the goroutine must not look
	return started(func() readResult {
		next, err := r.read(ctx, b.last, high, held)
		return readResult{next, err}
	})
}

// markBehind marks what was sent, meanwhile if there is something else to do.
func (r *relay) markBehind(ctx context.Context, out outcome, meanwhile bool) <-chan error {
	if !meanwhile {
		return finished(r.mark(ctx, out))
	}
	return started(func() error { return r.mark(ctx, out) })
}

// finished is a channel that holds a result.
func finished[T any](v T) <-chan T {
	c := make(chan T, 1)
	c <- v
	return c
}

// started calls fn on a goroutine; whoever gets the channel waits for it.
func started[T any](fn func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- fn() }()
	return c
}

// samplePass publishes events of a few keys, taken at random from all that is unsent and allowed.
func (r *relay) samplePass(ctx context.Context, low, high int64) (more bool, err error) {
	s := newSample(r.held.sample)
	var out outcome
	full := true
	for after, read := low-1, 0; full && read < r.pace.maxSkipped; {
		b, err := r.read(ctx, after, high, nil)
		if err != nil {
			return false, err
		}
		out.bad = append(out.bad, b.bad...)
		r.addTo(s, b)
		after, full, read = b.last, b.full, read+b.rows()
	}
	sent, failed := r.send(ctx, s.batch())
	out.sent, out.bad = sent.sent, append(out.bad, sent.bad...)
	r.held.covered = !full && s.complete()
	err = errors.Join(failed, r.mark(ctx, out))
	return err == nil && ctx.Err() == nil && r.held.through > 0, err
}

// addTo offers the keys of a batch to a sample; those that were let go for this pass are taken in any case.
func (r *relay) addTo(s *sample, b *batch) {
	for i := range b.events {
		k := eventKey{b.topics[i], b.events[i].Key}
		if r.held.allows(k) {
			s.add(k, b, i, r.held.tries(k))
		} else {
			r.skipped++
		}
	}
}
