package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// Tx is a transaction as the code inside it sees it: a *[sql.Tx], or what a [Writer] gives. Whatever it hands out
// (rows, a row, a statement) ends with it, if it was not closed before.
//
// What has to run on Postgres too reads or closes one query's rows before its next statement, for the connection is
// busy until then; and it gives up at the first error of a statement, or goes back to a SAVEPOINT that it set before,
// for every later statement is refused. SQLite forgives both.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Dialect is a kind of database, by the name that goose has for it.
type Dialect string

// The dialects.
const (
	SQLite   Dialect = "sqlite3"
	Postgres Dialect = "postgres"
)

// Folder is where a room keeps its migrations for the dialect: "migrations/sqlite" or "migrations/postgres".
func (d Dialect) Folder() string {
	if d == SQLite {
		return "migrations/sqlite"
	}
	return "migrations/" + string(d)
}

// ForUpdate ends a SELECT that locks the rows it reads until the transaction ends: " FOR UPDATE" on Postgres. It is
// empty on SQLite, where a transaction of the [Writer] has the whole database for itself.
func (d Dialect) ForUpdate() string {
	if d == Postgres {
		return " FOR UPDATE"
	}
	return ""
}

// Detect finds out what db is by asking it, so that no driver has to be linked for it. Where the database is away its
// error is one that [IsStoreFault] knows, as far as the driver says so, and Detect may be called again.
func Detect(ctx context.Context, db *sql.DB) (Dialect, error) {
	var version string
	// Postgres is asked first: it logs what it can't answer, and SQLite doesn't.
	err := db.QueryRowContext(ctx, `SELECT version()`).Scan(&version)
	switch {
	case err == nil && strings.HasPrefix(version, "PostgreSQL"):
		return Postgres, nil
	case err != nil && (ctx.Err() != nil || IsStoreFault(err)):
		return "", fmt.Errorf("sqldb: the database can't be asked what it is: %w", err)
	}
	if err := db.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return "", fmt.Errorf("sqldb: the database is neither SQLite nor Postgres, or can't be read: %w", err)
	}
	return SQLite, nil
}

// Values returns rows groups of cols parameters for a multi-row statement: "($1,$2),($3,$4)". It is empty where
// either is 0. SQLite takes 32,766 parameters, Postgres 65,535.
func Values(rows, cols int) string {
	if rows <= 0 || cols <= 0 {
		return ""
	}
	var b strings.Builder
	for i := range rows * cols {
		switch {
		case i == 0:
			b.WriteString("($")
		case i%cols == 0:
			b.WriteString("),($")
		default:
			b.WriteString(",$")
		}
		b.WriteString(strconv.Itoa(i + 1))
	}
	b.WriteByte(')')
	return b.String()
}
