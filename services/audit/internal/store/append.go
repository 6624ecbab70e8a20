package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/times"
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
	added, err := s.insert.Exec(ctx, tx, args)
	if err == nil && added > 0 {
		_, err = tx.ExecContext(ctx, s.count, added)
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
	args := make([]any, 0, len(events)*s.insert.Cols())
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
		args = append(args, database.Text(e.UserID), int64(e.Version), database.Text(e.Source), database.Text(e.EventID),
			database.Text(e.Type), times.ToNanos(e.Time), database.Text(e.DataType), data, extensions)
	}
	return args, nil
}
