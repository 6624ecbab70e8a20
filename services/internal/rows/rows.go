// Package rows executes SQL statements for many rows at once: "… VALUES ($1,$2),($3,$4)…".
package rows

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// sizes are the numbers of rows for which a statement has a text: few, so that each is prepared once.
var sizes = [...]int{200, 20, 1}

// Statement is a statement for many rows: its text by size. It is safe for concurrent use.
type Statement struct {
	cols  int
	texts [len(sizes)]string
}

// Execer is what [Statement.Exec] needs of a transaction.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Querier is what [Statement.Query] needs of a transaction.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// New makes the statement head + "($1,$2),($3,$4)…" + tail for rows of cols arguments. Of one column it is "$1,$2…",
// as IN (…) wants it. cols times 200 must not be above the 32,766 parameters that SQLite takes.
func New(cols int, head, tail string) Statement {
	s := Statement{cols: cols}
	for i, size := range sizes {
		s.texts[i] = head + groups(size, cols) + tail
	}
	return s
}

// groups returns rows groups of cols parameters.
func groups(rows, cols int) string {
	var b strings.Builder
	for i := range rows * cols {
		switch {
		case i == 0:
		case i%cols == 0 && cols > 1:
			b.WriteString("),(")
		default:
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
	}
	if cols == 1 {
		return b.String()
	}
	return "(" + b.String() + ")"
}

// Cols is how many arguments a row has.
func (s *Statement) Cols() int { return s.cols }

// each calls fn for the arguments of as many rows as one text takes, until args are used up.
func (s *Statement) each(args []any, fn func(text string, args []any) error) error {
	for i, size := range sizes {
		for n := size * s.cols; len(args) >= n; args = args[n:] {
			if err := fn(s.texts[i], args[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Exec executes the statement for the rows that args, one row's after the other's, are the arguments of. It returns
// how many rows it changed.
func (s *Statement) Exec(ctx context.Context, tx Execer, args []any) (changed int64, err error) {
	err = s.each(args, func(text string, args []any) error {
		result, err := tx.ExecContext(ctx, text, args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		changed += n
		return err
	})
	return changed, err
}

// Query calls scan for every row that the statement answers with for the rows that args are the arguments of. scan must
// not use tx: the answer is still being read.
func (s *Statement) Query(ctx context.Context, tx Querier, args []any, scan func(row *sql.Rows) error) error {
	return s.each(args, func(text string, args []any) error {
		found, err := tx.QueryContext(ctx, text, args...)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			if err := scan(found); err != nil {
				return err
			}
		}
		return found.Err()
	})
}
