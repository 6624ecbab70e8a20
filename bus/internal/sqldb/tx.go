package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
)

// connTx is the transaction that a request sees. Statements are prepared once for the connection, as far as that
// can't be noticed.
type connTx struct {
	c     *conn
	ctx   context.Context // the caller's
	lost  error           // the database has ended the transaction
	fault error           // the first fault of the store
	lent  bool            // rows were handed out, whose later errors nobody tells us of
	done  atomic.Bool     // atomic for those who keep a Tx too long, and on another goroutine
}

// check returns the error that a statement gets without being tried. Once the transaction is lost no more may be
// tried: it would be stored at once, on its own.
func (t *connTx) check(ctx context.Context) error {
	switch {
	case t.done.Load():
		return sql.ErrTxDone
	case t.lost != nil:
		return t.lost
	case t.ctx.Err() != nil:
		return t.ctx.Err()
	case t.lent && t.c.ended():
		t.lost = lostBy(errUnseen)
		return t.lost
	}
	return ctx.Err()
}

// errUnseen stands for an error that only the one inside the transaction has seen.
var errUnseen = errors.New("at an error of rows that was passed over")

// storeFault is for [Fault].
func (t *connTx) storeFault() error {
	if t.lost != nil {
		return t.lost
	}
	return t.fault
}

// note looks at a failed statement: some errors end the transaction.
func (t *connTx) note(err error) error {
	if err != nil && t.c.ended() {
		t.lost = lostBy(err)
		return t.lost
	}
	if t.fault == nil && IsStoreFault(err) {
		t.fault = err
	}
	return err
}

// end closes what was handed out and not closed.
func (t *connTx) end() {
	t.done.Store(true)
	for i, closeIt := range t.c.open {
		closeIt()
		t.c.open[i] = nil
	}
	t.c.open = t.c.open[:0]
}

// lend hands something out, until the transaction ends.
func (t *connTx) lend(closeIt func()) {
	t.lent = true
	t.c.open = append(t.c.open, closeIt)
}

// ExecContext executes a statement.
func (t *connTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := t.check(ctx); err != nil {
		return nil, err
	}
	r, err := t.exec(background(ctx), query, args)
	return r, t.note(err)
}

// exec prepares only what leaves nothing open.
func (t *connTx) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	s := t.c.statements[query]
	if s == nil && endsByItself(query) {
		var err error
		if s, err = t.c.prepared(ctx, query); err != nil {
			return nil, err
		}
	}
	if s == nil {
		return t.c.c.ExecContext(ctx, query, args...)
	}
	return s.ExecContext(ctx, args...)
}

// endsByItself reports whether a statement is over once it was executed. One that returns rows is not, unless it is
// closed, and a prepared one stays open.
func endsByItself(query string) bool {
	q := strings.ToUpper(strings.TrimSpace(query))
	for _, verb := range [...]string{"INSERT", "UPDATE", "DELETE", "REPLACE"} {
		if strings.HasPrefix(q, verb) {
			return !strings.Contains(q, "RETURNING")
		}
	}
	return false
}

// PrepareContext prepares a statement for as long as the transaction.
func (t *connTx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := t.check(ctx); err != nil {
		return nil, err
	}
	s, err := t.c.c.PrepareContext(background(ctx), query)
	if err != nil {
		return nil, t.note(err)
	}
	mine, closeIt, err := (&prepared{t, s}).handOut(query)
	if err != nil {
		return nil, err
	}
	t.lend(closeIt)
	return mine, nil
}

// QueryContext returns the rows of a query.
func (t *connTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := t.check(ctx); err != nil {
		return nil, err
	}
	rows, err := t.query(background(ctx), query, args)
	if err != nil {
		return nil, t.note(err)
	}
	t.lend(func() { _ = rows.Close() })
	return rows, nil
}

// query remembers the rows, to know when the statement is free again.
func (t *connTx) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	s, err := t.reader(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return t.c.c.QueryContext(ctx, query, args...)
	}
	s.rows, err = s.QueryContext(ctx, args...)
	return s.rows, err
}

// reader returns the prepared statement of a query, or nil where this transaction may still be reading from it.
func (t *connTx) reader(ctx context.Context, query string) (*statement, error) {
	s, err := t.c.prepared(ctx, query)
	if s == nil || !s.free(t) {
		return nil, err
	}
	s.reader, s.rows = t, nil
	return s, nil
}

// QueryRowContext returns the first row of a query, or the error that there is, when it is scanned.
func (t *connTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := t.check(ctx); err != nil {
		return failedRow(err)
	}
	row := t.queryRow(background(ctx), query, args)
	if err := row.Err(); err != nil {
		if t.note(err) != err {
			return failedRow(t.lost)
		}
		return row
	}
	t.lend(func() { _ = row.Scan() }) // there is no other way to close it
	return row
}

// queryRow takes a statement that is free, or the text.
func (t *connTx) queryRow(ctx context.Context, query string, args []any) *sql.Row {
	s, err := t.reader(ctx, query)
	switch {
	case err != nil:
		return failedRow(err)
	case s == nil:
		return t.c.c.QueryRowContext(ctx, query, args...)
	}
	return s.QueryRowContext(ctx, args...)
}

// failedRow makes a row that holds an error, which nothing but a failed query can do.
func failedRow(err error) *sql.Row {
	db := sql.OpenDB(noDriver{err})
	defer db.Close()
	return db.QueryRow("")
}

// noDriver connects to nothing.
type noDriver struct{ err error }

// Connect returns the error.
func (n noDriver) Connect(context.Context) (driver.Conn, error) { return nil, n.err }

// Driver is never asked for.
func (n noDriver) Driver() driver.Driver { return nil }
