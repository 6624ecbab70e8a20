package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/rows"
	"github.com/tidings-dev/tidings/services/internal/times"
)

// Migrations holds the tables' goose migrations: migrations/<dialect>/*.sql.
//
//go:embed migrations
var Migrations embed.FS

// Event is an event as it came.
type Event struct {
	UserID string // its key
	Place
	Type       string
	Time       time.Time         // zero where it has none
	DataType   string            // media type of Data; "" is application/protobuf
	Data       []byte            // as it came
	Extensions map[string]string // other attributes of its envelope; nil when none
}

// Place is where an event stands in its user's history.
type Place struct {
	Version uint64 // below 1<<63
	Source  string
	EventID string
}

// Store is the audit's database. It is safe for concurrent use.
type Store struct {
	db     *database.DB
	insert rows.Statement
	count  string // adds to the number of events
}

// New makes a store of a database that has been migrated.
func New(db *database.DB) *Store {
	return &Store{db: db, count: counts[db.Dialect], insert: rows.New(9, `INSERT INTO events
		(user_id, version, source, event_id, type, time, data_type, data, extensions) VALUES `, ` ON CONFLICT DO NOTHING`)}
}

// counts adds $1 to the number of events. Where replicas append side by side, each connection has a row of its own, which
// stays locked until the transaction ends.
var counts = map[database.Dialect]string{
	database.SQLite: `UPDATE totals SET events = events + $1`,
	database.Postgres: `INSERT INTO totals_parts AS t (part, events) VALUES (pg_backend_pid() % 32, $1)
		ON CONFLICT (part) DO UPDATE SET events = t.events + excluded.events`,
}

// Count returns how many events there are. It reads one row, or a few.
func (s *Store) Count(ctx context.Context) (int64, error) {
	var n int64
	if err := s.db.QueryRowContext(ctx, `SELECT events FROM totals`).Scan(&n); err != nil {
		return 0, fmt.Errorf("store: count: %w", err)
	}
	return n, nil
}

// Page is a part of a user's history.
type Page struct {
	Events []Event
	More   bool // whether others follow
}

// List returns the events of a user in the order of Place, from behind after on, at most limit and, but for the
// first, at most maxBytes of data. After the zero Place come all but an event without version, source and id.
func (s *Store) List(ctx context.Context, userID string, after Place, limit, maxBytes int) (Page, error) {
	const text = `SELECT user_id, version, source, event_id, type, time, data_type, data, extensions FROM events
		WHERE user_id = $1 AND (version, source, event_id) > ($2, $3, $4)
		ORDER BY version, source, event_id LIMIT $5`
	var page Page
	rows, err := s.db.QueryContext(ctx, text, database.Text(userID), int64(after.Version), database.Text(after.Source),
		database.Text(after.EventID), limit+1)
	if err != nil {
		return Page{}, fmt.Errorf("store: list %q: %w", userID, err)
	}
	defer rows.Close()
	// One row more than the page holds is asked for, and only looked at: it says that there are more.
	for left := maxBytes; rows.Next(); {
		if page.More = len(page.Events) == limit || len(page.Events) > 0 && left <= 0; page.More {
			break
		}
		e, err := scanEvent(rows)
		if err != nil {
			return Page{}, fmt.Errorf("store: list %q: %w", userID, err)
		}
		left -= len(e.Data)
		page.Events = append(page.Events, e)
	}
	if err := rows.Err(); err != nil {
		return Page{}, fmt.Errorf("store: list %q: %w", userID, err)
	}
	return page, nil
}

// scanEvent reads a row of List.
func scanEvent(rows *sql.Rows) (Event, error) {
	var e Event
	var at sql.NullInt64
	var extensions []byte
	err := rows.Scan(&e.UserID, &e.Version, &e.Source, &e.EventID, &e.Type, &at, &e.DataType, &e.Data, &extensions)
	e.Time = times.FromNanos(at)
	if err == nil && extensions != nil {
		err = json.Unmarshal(extensions, &e.Extensions)
	}
	return e, err
}

// CountOf counts the events of a user, up to limit.
func (s *Store) CountOf(ctx context.Context, userID string, limit int) (int64, error) {
	const text = `SELECT COUNT(*) FROM (SELECT 1 FROM events WHERE user_id = $1 LIMIT $2) found`
	var n int64
	if err := s.db.QueryRowContext(ctx, text, database.Text(userID), limit).Scan(&n); err != nil {
		return 0, fmt.Errorf("store: count of %q: %w", userID, err)
	}
	return n, nil
}

// EstimateOf says about how many events a user has, from the first version and the last, which costs nothing however
// many there are.
func (s *Store) EstimateOf(ctx context.Context, userID string) (int64, error) {
	const text = `SELECT COALESCE(MAX(version) - MIN(version) + 1, 0) FROM events WHERE user_id = $1`
	var n int64
	if err := s.db.QueryRowContext(ctx, text, database.Text(userID)).Scan(&n); err != nil {
		return 0, fmt.Errorf("store: estimate of %q: %w", userID, err)
	}
	return n, nil
}
