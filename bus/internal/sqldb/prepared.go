package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// prepared is a statement that somebody inside a transaction has prepared. A *sql.Stmt of the connection would go on
// executing when the database has ended the transaction, and store on its own; so what is handed out is a *sql.Stmt of
// a driver that asks the transaction first, which is this.
type prepared struct {
	t *connTx
	s *sql.Stmt // of the connection
}

// errPreparedOnly is what database/sql never asks for here.
var errPreparedOnly = errors.New("sqldb: it was prepared, and can be executed and queried")

// handOut makes the statement that the one inside sees, and whatever closes it.
func (p *prepared) handOut(query string) (s *sql.Stmt, closeIt func(), err error) {
	db := sql.OpenDB(p)
	closeIt = func() {
		_ = db.Close() // and s with it
		_ = p.s.Close()
	}
	if s, err = db.Prepare(query); err != nil {
		closeIt()
	}
	return s, closeIt, err
}

// Connect connects to the transaction.
func (p *prepared) Connect(context.Context) (driver.Conn, error) { return p, nil }

// Driver is never asked for.
func (p *prepared) Driver() driver.Driver { return nil }

// Prepare has been done.
func (p *prepared) Prepare(string) (driver.Stmt, error) { return p, nil }

// Begin is refused: it is all inside a transaction.
func (p *prepared) Begin() (driver.Tx, error) { return nil, errPreparedOnly }

// Close leaves it to the transaction.
func (p *prepared) Close() error { return nil }

// NumInput leaves the counting to the statement.
func (p *prepared) NumInput() int { return -1 }

// CheckNamedValue leaves the parameters as they are.
func (p *prepared) CheckNamedValue(*driver.NamedValue) error { return nil }

// Exec is ExecContext of long ago.
func (p *prepared) Exec([]driver.Value) (driver.Result, error) { return nil, errPreparedOnly }

// Query is QueryContext of long ago.
func (p *prepared) Query([]driver.Value) (driver.Rows, error) { return nil, errPreparedOnly }

// ExecContext executes the statement, if the transaction still stands.
func (p *prepared) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := p.t.check(ctx); err != nil {
		return nil, err
	}
	r, err := p.s.ExecContext(background(ctx), values(args)...)
	return r, p.t.note(err)
}

// QueryContext queries the statement, if the transaction still stands.
func (p *prepared) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := p.t.check(ctx); err != nil {
		return nil, err
	}
	rows, err := p.s.QueryContext(background(ctx), values(args)...)
	if err != nil {
		return nil, p.t.note(err)
	}
	columns, err := rows.Columns()
	if err != nil {
		_ = rows.Close()
		return nil, err
	}
	return &preparedRows{Rows: rows, t: p.t, columns: columns}, nil
}

// values are parameters as they were given, by name where they had one.
func values(args []driver.NamedValue) []any {
	all := make([]any, len(args))
	for i, a := range args {
		if all[i] = a.Value; a.Name != "" {
			all[i] = sql.Named(a.Name, a.Value)
		}
	}
	return all
}

// preparedRows hands rows on.
type preparedRows struct {
	*sql.Rows
	t       *connTx
	columns []string
}

// Columns are the names of the columns.
func (r *preparedRows) Columns() []string { return r.columns }

// Next reads one row into dest.
func (r *preparedRows) Next(dest []driver.Value) error {
	if !r.Rows.Next() {
		if err := r.Err(); err != nil {
			return r.t.note(err)
		}
		return io.EOF
	}
	row, into := make([]any, len(dest)), make([]any, len(dest))
	for i := range row {
		into[i] = &row[i]
	}
	if err := r.Scan(into...); err != nil {
		return r.t.note(err)
	}
	for i := range row {
		dest[i] = row[i]
	}
	return nil
}
