package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// Tx is what a change needs of a transaction.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// sizes are the numbers of rows for which a multi-row statement has a text: few, so that each is prepared once.
var sizes = [...]int{200, 20, 1}

// manyRows is a statement for many rows: its text by size, and how many arguments a row has.
type manyRows struct {
	cols  int
	texts [len(sizes)]string
}

// newManyRows makes the texts of head + "($1,$2),($3,$4)…" + tail.
func newManyRows(cols int, head, tail string) manyRows {
	m := manyRows{cols: cols}
	for i, size := range sizes {
		m.texts[i] = head + groups(size, cols) + tail
	}
	return m
}

// groups returns rows groups of cols parameters. A group of one has no parentheses, as IN (…) wants it.
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

// each calls fn for the arguments of as many rows as one text takes, until args are used up.
func (m *manyRows) each(args []any, fn func(text string, args []any) error) error {
	for i, size := range sizes {
		for n := size * m.cols; len(args) >= n; args = args[n:] {
			if err := fn(m.texts[i], args[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// exec executes the statement for the rows that args are the arguments of.
func (m *manyRows) exec(ctx context.Context, tx Tx, args []any) error {
	return m.each(args, func(text string, args []any) error {
		_, err := tx.ExecContext(ctx, text, args...)
		return err
	})
}

// query calls scan for every row of every answer.
func (m *manyRows) query(ctx context.Context, tx Tx, args []any, scan func(row scanner) error) error {
	return m.each(args, func(text string, args []any) error {
		rows, err := tx.QueryContext(ctx, text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}
