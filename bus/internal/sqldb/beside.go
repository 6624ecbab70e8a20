package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"
)

// defaultGrace is how long a COMMIT or ROLLBACK may go on after the caller's context has ended. A commit takes
// milliseconds; what takes longer than this waits for a server that is paused, or gone.
const defaultGrace = 5 * time.Second

// maxBegins is how many connections are tried for one transaction: after a restart of the server the pool is full of
// broken ones, and BEGIN is where that is seen. Nothing was done before it, so another try does no harm.
const maxBegins = 3

// runBeside runs fn in a transaction of its own, on a connection of the pool.
func (w *Writer) runBeside(ctx context.Context, fn func(context.Context, Tx) error) error {
	t, err := w.beginBeside(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCommitted, err)
	}
	defer t.close() // after a panic too
	if err := fn(context.WithValue(ctx, insideKey{w}, true), t); err != nil {
		return t.giveUp(err)
	}
	return t.commit()
}

func (w *Writer) beginBeside(ctx context.Context) (*besideTx, error) {
	for tries := 1; ; tries++ {
		conn, err := w.db.Conn(ctx)
		if err != nil {
			return nil, fmt.Errorf("no connection: %w", err)
		}
		t := &besideTx{conn: conn, ctx: ctx, grace: w.grace}
		if err = t.begin(); err == nil {
			return t, nil
		}
		discard(conn)
		if tries == maxBegins || ctx.Err() != nil {
			return nil, fmt.Errorf("begin: %w", err)
		}
	}
}

// discard closes a connection for good.
func discard(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Close() // it is closed already, unless Raw was not let in
}

// begin begins. Its context is not the caller's, whose end would roll back behind our back, and break a COMMIT off.
func (t *besideTx) begin() error {
	ctx, cut := context.WithCancel(context.WithoutCancel(t.ctx))
	t.cut = cut
	err := t.finish(t.ctx, func() (err error) {
		t.tx, err = t.conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		return err
	})
	if err != nil {
		cut()
	}
	return err
}

// finish does what a transaction begins or ends with, and cuts it off when that goes on for longer than the grace
// after ctx has ended.
func (t *besideTx) finish(ctx context.Context, do func() error) error {
	if ctx.Done() == nil {
		return do()
	}
	var watch sync.WaitGroup
	defer watch.Wait()
	done := make(chan struct{})
	defer close(done)
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		late := time.NewTimer(t.grace)
		defer late.Stop()
		select {
		case <-late.C:
			t.cut()
		case <-done:
		}
	})
	return do()
}

// commit commits, or says what became of it.
func (t *besideTx) commit() error {
	if t.lost != nil {
		return t.lost
	}
	if t.misused {
		return rejected(errRowsOpen)
	}
	t.over = true
	beforeCommit()
	err := t.finish(t.ctx, t.tx.Commit)
	if err == nil {
		afterCommit()
		return nil
	}
	// What pgx calls safe to try again is no proof that COMMIT was not sent: "conn closed" comes after it too.
	if !t.answers() {
		t.lost = fmt.Errorf("%w: %w", ErrInDoubt, err)
		return t.lost
	}
	// The server has answered, and it lives: whatever ends a session may come after a commit, but not this.
	return t.refused(err)
}

// refused says why the server has rolled back instead of committing. When a statement had failed before, it doesn't
// tell more than that it has.
func (t *besideTx) refused(err error) error {
	if sqlState(err) == "" && t.failed != nil {
		err = fmt.Errorf("%w: the error of a statement was passed over: %w", err, t.failed)
	}
	if IsStoreFault(err) {
		return fmt.Errorf("%w: %w", ErrNotCommitted, err)
	}
	return rejected(err)
}

func rejected(err error) error { return fmt.Errorf("%w: %w: %w", ErrNotCommitted, ErrRejected, err) }

// giveUp rolls back for err, which is fn's. It goes in front of err where the database was to blame: fn may have made
// something else of it.
func (t *besideTx) giveUp(err error) error {
	if t.lost != nil {
		return t.lost
	}
	if back := t.rollback(); back != nil && !t.misused {
		t.lost = lostBy(errors.Join(err, back))
		return t.lost
	}
	if t.fault != nil && !IsStoreFault(err) {
		return masked(t.fault, err)
	}
	return err
}

// rollback rolls back, in a bounded time even if the caller has no bound.
func (t *besideTx) rollback() error {
	t.over = true
	ended, end := context.WithCancel(context.Background())
	end()
	return t.finish(ended, t.tx.Rollback)
}

// close ends what has not ended, and gives the connection back. One that could not be rolled back is closed, which the
// server takes for a rollback.
func (t *besideTx) close() {
	defer t.cut()
	if !t.over && t.rollback() != nil || t.lost != nil || t.misused {
		discard(t.conn)
		return
	}
	_ = t.conn.Close()
}

// answers reports whether the server still answers on this connection, inside the transaction or after it.
func (t *besideTx) answers() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.grace)
	defer cancel()
	ask := t.conn.ExecContext
	if !t.over {
		// A *sql.Conn that finds itself broken closes itself, and waits for its own transaction to end first.
		ask = t.tx.ExecContext
	}
	_, err := ask(ctx, `SELECT 1`)
	return err == nil || sqlState(err) == inFailedTx
}
