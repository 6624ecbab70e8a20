package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"
)

// What bounds the transactions that share a commit, so that the first of them does not wait for long.
const (
	maxShared     = 256
	maxSharedTime = 20 * time.Millisecond
)

// errNested is the answer to a transaction that its own goroutine would keep from ever running.
var errNested = errors.New("sqldb: a transaction inside a transaction of the same writer would wait for itself; use the tx at hand")

// Writer runs transactions on one connection of a SQLite database, one at a time. It has no goroutine of its own:
// the first caller in line leads, runs those of all who wait, commits, answers them, and hands the lead over.
// Make one with [NewWriter]. It is safe for concurrent use.
type Writer struct {
	conn holder

	mu      sync.Mutex
	waiting []*request // in order of arrival; a leader stands first until it begins
	leading bool       // somebody leads, or was told to
}

// NewWriter makes a writer. While it is at work it keeps one connection of db for itself, so db must allow two.
func NewWriter(db *sql.DB) (*Writer, error) {
	if db.Stats().MaxOpenConnections == 1 {
		return nil, errors.New("sqldb: the database allows one connection, and the writer needs one for itself: allow 2 or more by SetMaxOpenConns")
	}
	return &Writer{conn: holder{db: db}}, nil
}

// InTx runs fn inside a transaction that may be shared with those of others, and returns once it is committed. An
// error of fn takes back what fn did, and nothing else, and is returned as it is, after the common commit too; so
// is a panic. A failed commit is an error that wraps [ErrNotCommitted], for all who shared it.
//
// fn may run on another caller's goroutine, keeps no state across calls, must not use tx after it has returned, and
// starts no transaction of the same writer. Until fn runs the end of ctx takes it out of the line; then it stops it
// at its next statement. The context that fn gets holds what ctx holds and tells by Err that ctx has ended, but its
// Done is never closed: a statement that is interrupted could end the transaction of all.
func (w *Writer) InTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	return w.do(&request{ctx: ctx, fn: fn, turn: make(chan bool, 1)})
}

// InOwnTx is InTx with a commit of its own, and without a savepoint: cheaper for one that changes many rows. An
// error of fn takes the whole of it back.
func (w *Writer) InOwnTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	return w.do(&request{ctx: ctx, fn: fn, alone: true, turn: make(chan bool, 1)})
}

// Hold keeps the writer's connection, and its prepared statements, until release is called; without it they are
// given back whenever nobody waits. It doesn't block.
func (w *Writer) Hold() (release func()) {
	w.conn.hold()
	return sync.OnceFunc(w.conn.release)
}

// request is one transaction in line. The leader writes its fields before it sends on turn.
type request struct {
	ctx   context.Context
	fn    func(context.Context, Tx) error
	alone bool      // a commit of its own
	err   error     // of fn, or of the commit
	panic any       // of fn
	turn  chan bool // true: you lead now; false: you are answered
}

// do stands in line, and leads or waits. A panic of fn goes on here, on the goroutine of who passed fn.
func (w *Writer) do(r *request) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.ctx.Value(insideKey{w}) != nil {
		return errNested
	}
	if w.join(r) {
		w.lead()
	} else if lead, left := w.await(r); left {
		return r.ctx.Err()
	} else if lead {
		w.lead()
	}
	if r.panic != nil {
		panic(r.panic)
	}
	return r.err
}

// join puts r into the line, and reports whether r has to lead.
func (w *Writer) join(r *request) (lead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, r)
	lead = !w.leading
	w.leading = true
	return lead
}

// await waits for r's turn, or until its context ends while it is still in line.
func (w *Writer) await(r *request) (lead, left bool) {
	select {
	case lead = <-r.turn:
		return lead, false
	case <-r.ctx.Done():
	}
	if w.leave(r) {
		return false, true
	}
	return <-r.turn, false
}

// leave takes r out of the line. It is too late for it when r is being run, or was made the leader.
func (w *Writer) leave(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.waiting, r)
	if i < 0 || len(r.turn) > 0 {
		return false
	}
	w.waiting = slices.Delete(w.waiting, i, i+1)
	return true
}

// lead runs one shared transaction, whose first request is the leader's own, and hands over.
func (w *Writer) lead() {
	w.conn.hold()
	defer w.conn.release()
	defer w.handOver()
	w.runShared()
}

// handOver wakes the next in line, who then leads.
func (w *Writer) handOver() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.leading = false
		return
	}
	w.waiting[0].turn <- true
}

// first takes the leader's own request, which stands first in line.
func (w *Writer) first() *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.take()
}

// next takes the next request that may join n others, unless it wants a commit of its own.
func (w *Writer) next(n int, since time.Time) *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 || w.waiting[0].alone || n >= maxShared || time.Since(since) > maxSharedTime {
		return nil
	}
	return w.take()
}

// take takes the first of those who wait.
func (w *Writer) take() *request {
	r := w.waiting[0]
	w.waiting[0] = nil
	w.waiting = w.waiting[1:]
	return r
}
