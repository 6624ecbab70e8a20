package store

import (
	"context"
	"fmt"
)

// Empty removes everybody, inside the caller's transaction. Readers see all of them until it is committed. Numbers are
// not given out again.
func Empty(ctx context.Context, tx Tx) error {
	for _, table := range [...]string{"terms", "people", "segments"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table); err != nil {
			return fmt.Errorf("store: empty %s: %w", table, err)
		}
	}
	return nil
}
