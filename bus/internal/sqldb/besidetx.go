package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// errRowsOpen is the answer to a statement that the connection can't take yet. It is told before the driver is asked,
// whose own words for it, those of pgx, are "bad connection".
var errRowsOpen = errors.New("sqldb: the rows of the query before are still open, and Postgres takes one statement at a time: read them to their end, or close them")

// besideTx is a transaction that runs beside others, as fn sees it.
type besideTx struct {
	conn  *sql.Conn
	tx    *sql.Tx
	ctx   context.Context // the caller's
	cut   func()          // breaks off what runs
	grace time.Duration

	rows    *sql.Rows // handed out last, or nil
	row     *sql.Row  // likewise
	misused bool      // a statement came while a row was open; the connection is of no use any more

	over   bool  // COMMIT or ROLLBACK was sent
	lost   error // the connection is gone
	fault  error // the first fault of the store
	failed error // the last error that ended the transaction, unless a savepoint saved it
}

// check returns the error that a statement gets without being tried.
func (t *besideTx) check(ctx context.Context) error {
	switch {
	case t.lost != nil:
		return t.lost
	case t.ctx.Err() != nil:
		return t.ctx.Err()
	case ctx.Err() != nil:
		return ctx.Err()
	case t.rows != nil:
		if _, closed := t.rows.Columns(); closed == nil {
			return errRowsOpen
		}
	}
	t.rows = nil
	return nil
}

// note looks at a failed statement: the connection may be gone, and all with it.
func (t *besideTx) note(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, driver.ErrBadConn) && t.busy() {
		t.misused = true
		return errRowsOpen
	}
	err = withEnd(err, ctx, t.ctx)
	state := sqlState(err)
	if (state == "" || isFaultState(state)) && !t.answers() {
		t.lost = lostBy(err)
		return t.lost
	}
	if t.fault == nil && IsStoreFault(err) {
		t.fault = err
	}
	if state != inFailedTx {
		t.failed = err
	}
	return err
}

// busy reports whether the connection is not bad at all, but busy with a row that nobody has scanned. pgx makes no
// difference between the two where it executes; where it prepares it does. The row itself can't be asked: after the
// statement that came too early, pgx panics over it.
func (t *besideTx) busy() bool {
	if t.row == nil {
		return false
	}
	s, err := t.tx.PrepareContext(context.WithoutCancel(t.ctx), `SELECT 1`)
	if err == nil {
		_ = s.Close()
	}
	return err != nil && !errors.Is(err, driver.ErrBadConn)
}

// withEnd makes err tell of the context whose end has caused it, however the driver puts that.
func withEnd(err error, all ...context.Context) error {
	for _, ctx := range all {
		if end := ctx.Err(); end != nil && !errors.Is(err, end) {
			return fmt.Errorf("%w: %w", end, err)
		}
	}
	return err
}

// closeRows is for [CloseRows]. A row whose connection was misused can't be asked any more.
func (t *besideTx) closeRows() {
	if t.rows != nil {
		_ = t.rows.Close()
	}
	if t.row != nil && !t.misused {
		_ = t.row.Scan() // there is no other way to close it
		t.row = nil
	}
	t.rows = nil
}

// storeFault is for [Fault].
func (t *besideTx) storeFault() error {
	if t.lost != nil {
		return t.lost
	}
	return t.fault
}

// ExecContext executes a statement.
func (t *besideTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := t.check(ctx); err != nil {
		return nil, err
	}
	r, err := t.tx.ExecContext(ctx, query, args...)
	return r, t.note(ctx, err)
}

// PrepareContext prepares a statement for as long as the transaction.
func (t *besideTx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := t.check(ctx); err != nil {
		return nil, err
	}
	s, err := t.tx.PrepareContext(ctx, query)
	return s, t.note(ctx, err)
}

// QueryContext returns the rows of a query.
func (t *besideTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := t.check(ctx); err != nil {
		return nil, err
	}
	rows, err := t.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, t.note(ctx, err)
	}
	t.rows, t.row = rows, nil
	return rows, nil
}

// QueryRowContext returns the first row of a query, or the error that there is, when it is scanned.
func (t *besideTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := t.check(ctx); err != nil {
		return failedRow(err)
	}
	row := t.tx.QueryRowContext(ctx, query, args...)
	if err := row.Err(); err != nil {
		return failedRow(t.note(ctx, err))
	}
	t.row = row
	return row
}
