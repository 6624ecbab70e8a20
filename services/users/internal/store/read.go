package store

import (
	"context"
	"fmt"

	"github.com/tidings-dev/tidings/services/internal/database"
)

// Get returns the user with this id, or its tombstone, as it was last committed; it waits for no writer. Its error
// wraps [ErrNotFound] if there never was one.
func (s *Store) Get(ctx context.Context, id string) (User, error) {
	return scanUser(s.get.QueryRowContext(ctx, id))
}

// listUsers goes along the primary key from where the page before has ended, so that the last page costs what the first
// one does. Tombstones on the way are passed over.
const listUsers = `SELECT ` + columns + ` FROM users WHERE id > $1 AND delete_time IS NULL ORDER BY id LIMIT $2`

// List returns at most limit users whose id is behind after ("" for all), in the order of their ids, without those
// that were deleted.
func (s *Store) List(ctx context.Context, after string, limit int) ([]User, error) {
	rows, err := s.cfg.DB.QueryContext(ctx, listUsers, after, limit)
	if err != nil {
		return nil, fmt.Errorf("store: list: %w", err)
	}
	defer rows.Close()
	var users []User
	for rows.Next() {
		u, err := scanUser(rows)
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: list: %w", err)
	}
	return users, nil
}

// Totals counts users.
type Totals struct {
	Live, Deleted int64
	Versions      uint64 // the sum of all versions, those of the deleted too
}

// Totals returns the totals as of now, at a cost that doesn't grow with the number of users.
func (s *Store) Totals(ctx context.Context) (t Totals, err error) {
	err = s.cfg.DB.QueryRowContext(ctx, `SELECT live, deleted, versions FROM users_totals`).Scan(&t.Live, &t.Deleted, &t.Versions)
	if err != nil {
		return Totals{}, fmt.Errorf("store: totals: %w", err)
	}
	return t, nil
}

// NeverUsed reports whether there never was a user in a database that [Migrations] has been run on: a deleted one
// leaves a tombstone.
func NeverUsed(ctx context.Context, db *database.DB) (none bool, err error) {
	if err := db.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM users)`).Scan(&none); err != nil {
		return false, fmt.Errorf("store: look for users: %w", err)
	}
	return none, nil
}
