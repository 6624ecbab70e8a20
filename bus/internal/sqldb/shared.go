package sqldb

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// errExited is what they are told whose transaction was lost because a function in it called runtime.Goexit, as
// testing.T.FailNow does.
var errExited = fmt.Errorf("%w: a function in the transaction ended its goroutine", ErrNotCommitted)

// runShared runs requests inside one transaction until none waits, commits, and answers all but the leader, which
// is the first. Whatever happens inside, everybody is answered, and none before the commit.
func (w *Writer) runShared() {
	shared := []*request{w.first()}
	err := errExited // unless the end of this function is reached
	defer func() {
		for i, r := range shared {
			if err != nil && r.panic == nil {
				r.err = err
			}
			if i > 0 {
				r.turn <- false
			}
		}
	}()
	c, err2 := w.begin(shared[0].ctx)
	if err2 != nil {
		err = err2
		return
	}
	committed := false // a deferred call, for fn may end the goroutine
	defer func() {
		if !committed {
			w.conn.rollback(c)
		}
	}()
	begun := time.Now()
	for r := shared[0]; r != nil; r = w.next(len(shared), begun) {
		if r != shared[0] {
			shared = append(shared, r)
		}
		if lost := c.run(w, r); lost != nil {
			err = lost
			return
		}
		if r.alone {
			break
		}
	}
	err = c.finish(shared[0])
	committed = err == nil
}

// begin takes the connection and begins. It fails for the leader alone, who is the only one by now; ctx is the
// leader's and bounds the wait for a connection.
func (w *Writer) begin(ctx context.Context) (*conn, error) {
	c, err := w.conn.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: no connection: %w", ErrNotCommitted, err)
	}
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		w.conn.rollback(c) // nothing has begun, unless the connection is not as it should be
		return nil, fmt.Errorf("%w: begin: %w", ErrNotCommitted, err)
	}
	return c, nil
}

// run runs one request; lost is an error of the whole transaction, which is then gone.
func (c *conn) run(w *Writer, r *request) (lost error) {
	if r.err = r.ctx.Err(); r.err != nil {
		return nil
	}
	if r.alone {
		return c.call(w, r)
	}
	if err := c.exec("SAVEPOINT request"); err != nil {
		return fmt.Errorf("%w: savepoint: %w", ErrNotCommitted, err)
	}
	if lost := c.call(w, r); lost != nil {
		return lost
	}
	if r.err != nil || r.panic != nil {
		if err := c.exec("ROLLBACK TO request"); err != nil {
			return fmt.Errorf("%w: rollback to savepoint: %w", ErrNotCommitted, err)
		}
	}
	if err := c.exec("RELEASE request"); err != nil {
		return fmt.Errorf("%w: release: %w", ErrNotCommitted, err)
	}
	return nil
}

// call calls fn, and keeps a panic for the one who asked. Afterwards the transaction is looked at where there is
// reason to: when it has ended by itself, what fn did later would have been stored on its own.
func (c *conn) call(w *Writer, r *request) (lost error) {
	tx := &connTx{c: c, ctx: r.ctx}
	c.protect(tx, w, r)
	switch {
	case tx.lost != nil:
		return tx.lost
	case (r.err != nil || r.panic != nil) && c.ended():
		return lostBy(r.err)
	case r.err != nil && tx.fault != nil && !IsStoreFault(r.err):
		r.err = masked(tx.fault, r.err)
	}
	return nil
}

// protect calls fn, and outlives its panic, or runs what is deferred when it calls runtime.Goexit.
func (c *conn) protect(tx *connTx, w *Writer, r *request) {
	defer tx.end()
	defer func() {
		if p := recover(); p != nil {
			r.panic = &panicked{value: p, stack: debug.Stack()}
		}
	}()
	r.err = r.fn(&inside{r.ctx, w}, tx)
}

// finish commits, or reports why there is nothing to commit.
func (c *conn) finish(first *request) error {
	if first.alone && (first.err != nil || first.panic != nil) {
		return orErr(first.err, errors.New("a panic"))
	}
	beforeCommit()
	if err := c.exec("COMMIT"); err != nil {
		return fmt.Errorf("%w: %w", ErrNotCommitted, err)
	}
	afterCommit()
	return nil
}

// inside is the context that fn gets: see [Writer.InTx].
type inside struct {
	context.Context
	w *Writer
}

// insideKey asks a context whether it was given out inside a transaction of w.
type insideKey struct{ w *Writer }

// Done is never closed.
func (*inside) Done() <-chan struct{} { return nil }

// Value tells a writer that it is called from inside itself.
func (i *inside) Value(key any) any {
	if key == (insideKey{i.w}) {
		return true
	}
	return i.Context.Value(key)
}

// panicked is a panic on its way to the goroutine that asked for the transaction, with the stack where it began.
type panicked struct {
	value any
	stack []byte
}

// Error is what the runtime prints when nobody recovers.
func (p *panicked) Error() string {
	return fmt.Sprintf("%v\n\nin a transaction:\n%s", p.value, p.stack)
}

// Unwrap gives the panic's value where it is an error.
func (p *panicked) Unwrap() error {
	err, _ := p.value.(error)
	return err
}
