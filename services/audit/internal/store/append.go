package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Tx is what an append needs of a transaction.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Append stores events, inside the caller's transaction. One that is stored already is left as it is.
func (s *Store) Append(ctx context.Context, tx Tx, events []Event) error {
	args, err := s.rows(inOrder(events))
	if err != nil {
		return fmt.Errorf("store: append: %w", err)
	}
	added, err := s.insert.exec(ctx, tx, args)
	if err == nil && added > 0 {
		_, err = tx.ExecContext(ctx, `UPDATE totals SET events = events + $1`, added)
	}
	if err != nil {
		return fmt.Errorf("store: append %d events: %w", len(events), err)
	}
	return nil
}

// inOrder returns events in the order of the table, in which the database is fastest.
func inOrder(events []Event) []*Event {
	order := make([]*Event, len(events))
	for i := range events {
		order[i] = &events[i]
	}
	slices.SortFunc(order, func(a, b *Event) int {
		return cmp.Or(strings.Compare(a.UserID, b.UserID), cmp.Compare(a.Version, b.Version),
			strings.Compare(a.Source, b.Source), strings.Compare(a.EventID, b.EventID))
	})
	return order
}

// rows makes the arguments of the insert. Bytes are handed to the database as they are.
func (s *Store) rows(events []*Event) ([]any, error) {
	args := make([]any, 0, len(events)*s.insert.cols)
	for _, e := range events {
		extensions, data := sql.NullString{}, e.Data
		if len(e.Extensions) > 0 {
			b, err := json.Marshal(e.Extensions)
			if err != nil {
				return nil, err
			}
			extensions = sql.NullString{String: string(b), Valid: true}
		}
		if data == nil {
			data = []byte{} // nil would be NULL
		}
		args = append(args, e.UserID, int64(e.Version), e.Source, e.EventID, e.Type, toNanos(e.Time), e.DataType, data, extensions)
	}
	return args, nil
}

// sizes are the numbers of rows for which a multi-row statement has a text: few, so that each is prepared once.
var sizes = [...]int{100, 10, 1}

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

// groups returns rows groups of cols parameters.
func groups(rows, cols int) string {
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
	return b.String() + ")"
}

// exec executes the statement for all rows, and returns how many rows it changed.
func (m *manyRows) exec(ctx context.Context, tx Tx, args []any) (changed int64, err error) {
	for i, size := range sizes {
		for n := size * m.cols; len(args) >= n; args = args[n:] {
			r, err := tx.ExecContext(ctx, m.texts[i], args[:n]...)
			if err != nil {
				return 0, err
			}
			rows, err := r.RowsAffected()
			if err != nil {
				return 0, err
			}
			changed += rows
		}
	}
	return changed, nil
}
