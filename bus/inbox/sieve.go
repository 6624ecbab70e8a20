package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// apply runs the handlers of everything that is to be done. As a rule all goes well, and nothing is spent on the other
// case: an error takes the whole transaction back, and the next attempt sifts.
func (a *attempt) apply(ctx context.Context) error {
	if a.sifting {
		return a.sieve(ctx, a.todo, a.unnamed)
	}
	return a.run(ctx, a.todo)
}

// sieve runs the handlers of jobs, and leaves out those at fault: those that an error names, or else those that are
// found by halving. What was before an event at fault goes first, so the order within a key holds throughout. doomed
// says that one of jobs is known to be at fault: then they are not tried all together again. So one event at fault among
// n takes about 2·log2(n) calls of a batch's handler.
//
// Everything that is tried has a savepoint of its own, and no two tries stand inside one another.
func (a *attempt) sieve(ctx context.Context, jobs []job, doomed bool) error {
	n := a.countOpen(jobs)
	if n == 0 {
		return nil
	}
	if n == 1 || !doomed {
		f, err := a.trial(ctx, jobs)
		if f == nil {
			return err
		}
		if i := find(jobs, f); i >= 0 {
			return a.around(ctx, jobs, i, f)
		}
		if n == 1 {
			return a.blame(ctx, a.firstOpen(jobs), f)
		}
	}
	half, before := a.middle(jobs, n), a.failed
	if err := a.sieve(ctx, jobs[:half], false); err != nil {
		return err
	}
	return a.sieve(ctx, jobs[half:], a.failed == before)
}

// around runs what is before the event at fault, and then what is after it. Where something before it has failed, too,
// the event may have suffered from that alone, and is tried once more.
func (a *attempt) around(ctx context.Context, jobs []job, i int, f *fault) error {
	before := a.failed
	if err := a.sieve(ctx, jobs[:i], false); err != nil {
		return err
	}
	if a.failed > before {
		return a.sieve(ctx, jobs[i:], false)
	}
	if err := a.blame(ctx, &jobs[i], f); err != nil {
		return err
	}
	return a.sieve(ctx, jobs[i+1:], false)
}

// trial runs jobs in a savepoint. A fault has left nothing behind; any other error is not a handler's.
func (a *attempt) trial(ctx context.Context, jobs []job) (*fault, error) {
	err := a.savepoint(ctx, func() error { return a.run(ctx, jobs) })
	if err == nil {
		return nil, nil
	}
	for i := range jobs { // of which none had been done before
		if jobs[i].was == jobDone {
			jobs[i].was = jobOpen
		}
	}
	var f *fault
	// Inside the transaction nobody has put a fault of the store in front of the error yet.
	if !errors.As(err, &f) || !parkable(ctx, err) || sqldb.Fault(a.tx) != nil {
		return nil, err
	}
	return f, nil
}

// blame says that j is at fault. Its key's later events have to wait where each of them matters.
func (a *attempt) blame(ctx context.Context, j *job, f *fault) error {
	j.was = jobFailed
	a.failed++
	if a.why == nil {
		a.why = make(map[*bus.Event]error)
	}
	a.why[j.ev] = f.err
	if k := j.line(); !j.late && a.strict(k) {
		a.bar(k, j.ev.Version)
	}
	if errors.Is(f.err, errUnread) {
		return nil // says nothing about this release's handlers
	}
	return a.slowDown(ctx, j)
}

// bar says that version front of a key has failed, and that what follows waits behind it.
func (a *attempt) bar(k lineKey, front uint64) {
	if a.barred == nil {
		a.barred = make(map[lineKey]uint64)
	}
	a.barred[k] = front
}

func (a *attempt) countOpen(jobs []job) (n int) {
	for i := range jobs {
		if a.open(&jobs[i]) {
			n++
		}
	}
	return n
}

func (a *attempt) firstOpen(jobs []job) *job { return &jobs[a.middle(jobs, 2)-1] }

// middle returns the index behind half of the n jobs that are open.
func (a *attempt) middle(jobs []job, n int) int {
	seen := 0
	for i := range jobs {
		if a.open(&jobs[i]) {
			seen++
		}
		if seen == n/2 {
			return i + 1
		}
	}
	return len(jobs)
}

// find returns the index of the event at fault; -1 where it isn't named. What a batch names is a copy.
func find(jobs []job, f *fault) int {
	if f.ev == nil {
		return -1
	}
	return slices.IndexFunc(jobs, func(j job) bool {
		e := j.ev
		return e == f.ev || e.ID == f.ev.ID && e.At == f.ev.At && e.Source == f.ev.Source && e.Key == f.ev.Key && e.Version == f.ev.Version
	})
}

// savepoint runs fn so that its error takes back what fn did, and nothing else.
func (a *attempt) savepoint(ctx context.Context, fn func() error) error {
	if _, err := a.tx.ExecContext(ctx, `SAVEPOINT tidings_inbox`); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		err = a.constraints(ctx)
	}
	if err == nil {
		_, released := a.tx.ExecContext(ctx, `RELEASE SAVEPOINT tidings_inbox`)
		if !passedOver(released) {
			return released
		}
		// Postgres takes nothing more after a statement that failed. It is the handler's error as if it had returned it.
		err = &fault{err: fmt.Errorf("the error of a statement was passed over: %w", released)}
	}
	// What can't be taken back must not be committed: the whole transaction has to go.
	for _, text := range [...]string{`ROLLBACK TO SAVEPOINT tidings_inbox`, `RELEASE SAVEPOINT tidings_inbox`} {
		if _, back := a.tx.ExecContext(ctx, text); back != nil {
			return fmt.Errorf("%w, and it could not be taken back: %w", sqldb.ErrNotCommitted, errors.Join(err, back))
		}
	}
	return err
}

// constraints looks at the deferred constraints of what was done in the savepoint. Otherwise COMMIT alone would, which
// names no event, and takes all back at every try. What this does is taken back at once: so constraints are as deferred
// after it as they were, and COMMIT looks at them again. SQLite has no such statement.
func (a *attempt) constraints(ctx context.Context) error {
	if a.forUpdate == "" {
		return nil
	}
	if _, err := a.tx.ExecContext(ctx, `SAVEPOINT tidings_inbox_constraints`); err != nil {
		if passedOver(err) {
			return nil // RELEASE says so, too
		}
		return err
	}
	if _, err := a.tx.ExecContext(ctx, `SET CONSTRAINTS ALL IMMEDIATE`); err != nil {
		return &fault{err: fmt.Errorf("a deferred constraint: %w", err)} // and all is taken back
	}
	_, err := a.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT tidings_inbox_constraints`)
	return err
}

// passedOver reports whether a statement is refused because one before it has failed.
func passedOver(err error) bool {
	const inFailedTransaction = "25P02"
	var s interface{ SQLState() string }
	return errors.As(err, &s) && s.SQLState() == inFailedTransaction
}
