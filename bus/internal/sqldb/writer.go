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

// Writer runs transactions. Make one with [Open]. It is safe for concurrent use, and has no goroutine of its own.
//
// On SQLite they run on one connection, one at a time: the first caller in line leads, runs those of all who wait,
// commits, answers them, and hands the lead over. On Postgres each runs on a connection of the pool, beside the
// others, at READ COMMITTED, and the server shares the waits for its disk.
type Writer struct {
	db      *sql.DB
	dialect Dialect
	grace   time.Duration // see [besideTx.finish]

	// The rest is SQLite's.
	conn holder

	mu      sync.Mutex
	waiting []*request // in order of arrival; a leader stands first until it begins
	leading bool       // somebody leads, or was told to
}

// Open asks db what it is and makes a writer. db must allow two connections or more: on SQLite the writer keeps one
// for itself while it is at work, on Postgres [Migrate] keeps one for its lock.
func Open(ctx context.Context, db *sql.DB) (*Writer, error) {
	dialect, err := Detect(ctx, db)
	if err != nil {
		return nil, err
	}
	return makeWriter(db, dialect)
}

// NewWriter makes a writer for a SQLite database, which is not asked.
func NewWriter(db *sql.DB) (*Writer, error) { return makeWriter(db, SQLite) }

func makeWriter(db *sql.DB, dialect Dialect) (*Writer, error) {
	if err := needsTwo(db); err != nil {
		return nil, err
	}
	return &Writer{db: db, dialect: dialect, grace: defaultGrace, conn: holder{db: db}}, nil
}

// needsTwo refuses a pool in which the second connection would be waited for for ever.
func needsTwo(db *sql.DB) error {
	if db.Stats().MaxOpenConnections == 1 {
		return errors.New("sqldb: the database allows one connection, and one is kept for the writer, or for the lock of migrations: allow 2 or more by SetMaxOpenConns")
	}
	return nil
}

// Dialect is what the writer's database is.
func (w *Writer) Dialect() Dialect { return w.dialect }

// InTx runs fn inside a transaction and returns once it is committed. An error of fn takes back what fn did, and
// nothing else, and is returned as it is; so is a panic. A commit that failed is an error that wraps [ErrNotCommitted],
// or [ErrInDoubt] where nobody knows; so is a transaction that the database ended or failed by itself, whatever fn
// made of it (see [IsStoreFault]).
//
// fn may run on another caller's goroutine, keeps no state across calls, must not use tx after it has returned, starts
// no transaction of the same writer, and reads through tx alone: the pool may be at its limit. Until fn runs the end of
// ctx takes it out of the line, or ends its wait for a connection; then it stops it at its next statement. Once fn has
// returned nil the end of ctx takes nothing back.
//
// On SQLite the transaction may be shared with those of others, and an error too is returned after the common commit.
// The context that fn gets holds what ctx holds and tells by Err that ctx has ended, but its Done is never closed: a
// statement that is interrupted could end the transaction of all. On Postgres it is closed, and interrupts a statement
// that waits for a lock, say. The driver may pay for that with the connection, which the pool then replaces.
func (w *Writer) InTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	return w.do(&request{ctx: ctx, fn: fn, turn: make(chan bool, 1)})
}

// InOwnTx is InTx with a commit of its own, and without a savepoint: cheaper on SQLite for one that changes many rows.
// An error of fn takes the whole of it back. On Postgres it is InTx.
func (w *Writer) InOwnTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	return w.do(&request{ctx: ctx, fn: fn, alone: true, turn: make(chan bool, 1)})
}

// Hold keeps the writer's connection on SQLite, and its prepared statements, until release is called; without it they
// are given back whenever nobody waits. On Postgres it does nothing. It doesn't block.
func (w *Writer) Hold() (release func()) {
	if w.dialect == Postgres {
		return func() {}
	}
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

// do runs what may run, on the one connection or on one of the pool.
func (w *Writer) do(r *request) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.ctx.Value(insideKey{w}) != nil {
		return errNested // on Postgres it could wait for a row that it has locked itself, or for a connection
	}
	if w.dialect == Postgres {
		return w.runBeside(r.ctx, r.fn)
	}
	return w.stand(r)
}

// stand stands in line, and leads or waits. A panic of fn goes on here, on the goroutine of who passed fn.
func (w *Writer) stand(r *request) error {
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
