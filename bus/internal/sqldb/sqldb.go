package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Tx is a transaction as the code inside it sees it: a *[sql.Tx], or the writer's connection inside BEGIN IMMEDIATE.
// Whatever it hands out (rows, a row, a statement) ends with it, if it was not closed before.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Dialect is a kind of database, by the name that goose has for it.
type Dialect string

// SQLite is the one kind so far.
const SQLite Dialect = "sqlite3"

// Detect finds out what db is by asking it, so that no driver has to be linked for it.
func Detect(ctx context.Context, db *sql.DB) (Dialect, error) {
	var version string
	if err := db.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return "", fmt.Errorf("sqldb: the database is not SQLite, or can't be read: %w", err)
	}
	return SQLite, nil
}

// ErrNotCommitted is wrapped by the error of a transaction that could not begin, whose COMMIT failed, or that the
// database ended by itself (its disk is full, say): nothing of it is stored, and it may be tried again.
var ErrNotCommitted = errors.New("not committed")

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
