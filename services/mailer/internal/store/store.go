// Package store keeps the mailer's messages in its own database: to whom, for which event, and what became of each.
// The inbox's transactions write it; gRPC reads it.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/services/internal/database"
)

// Migrations holds the tables' goose migrations: migrations/<dialect>/*.sql.
//
//go:embed migrations
var Migrations embed.FS

// ErrNotFound is returned for an event that no message was queued for.
var ErrNotFound = errors.New("no such message")

// Message is a mail, and what became of it.
type Message struct {
	Seq        int64 // the order of queueing
	EventID    string
	UserID     string
	To         string // the bare address
	Subject    string
	State      string // as the inbox calls it: "queued"
	Attempts   int
	LastError  string
	CreateTime time.Time
	UpdateTime time.Time
	NextTime   time.Time // zero where no attempt is due
}

// Tx is the part of a transaction that the store needs.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Store is the mailer's database. It is safe for concurrent use.
type Store struct{ db *sql.DB }

// New makes a store of a database that has been migrated.
func New(db *sql.DB) *Store { return &Store{db: db} }

// Add stores a new message within tx; of m, Seq is given by the database. One that is there already is moved.
func (s *Store) Add(ctx context.Context, tx Tx, m Message) error {
	const text = `INSERT INTO messages
		(event_id, user_id, recipient, subject, state, attempts, last_error, create_time, update_time, next_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (event_id) DO UPDATE SET state = excluded.state, attempts = excluded.attempts,
			last_error = excluded.last_error, update_time = excluded.update_time, next_time = excluded.next_time`
	_, err := tx.ExecContext(ctx, text, database.Text(m.EventID), database.Text(m.UserID), database.Text(m.To),
		database.Text(m.Subject), m.State, m.Attempts, database.Text(m.LastError),
		toMillis(m.CreateTime), toMillis(m.UpdateTime), toMillis(m.NextTime))
	if err != nil {
		return fmt.Errorf("store: add message of event %s: %w", m.EventID, err)
	}
	return nil
}

// Move stores within tx what has become of the message of an event: State, Attempts, LastError, UpdateTime and
// NextTime of m. A message that isn't there stays so.
func (s *Store) Move(ctx context.Context, tx Tx, m Message) error {
	const text = `UPDATE messages SET state = $1, attempts = $2, last_error = $3, update_time = $4, next_time = $5
		WHERE event_id = $6`
	_, err := tx.ExecContext(ctx, text, m.State, m.Attempts, database.Text(m.LastError),
		toMillis(m.UpdateTime), toMillis(m.NextTime), database.Text(m.EventID))
	if err != nil {
		return fmt.Errorf("store: move message of event %s: %w", m.EventID, err)
	}
	return nil
}

const columns = `seq, event_id, user_id, recipient, subject, state, attempts, last_error, create_time, update_time, next_time`

// Get returns the message of an event, or [ErrNotFound].
func (s *Store) Get(ctx context.Context, eventID string) (Message, error) {
	m, err := scan(s.db.QueryRowContext(ctx, `SELECT `+columns+` FROM messages WHERE event_id = $1`, database.Text(eventID)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Message{}, fmt.Errorf("store: get %s: %w", eventID, ErrNotFound)
	case err != nil:
		return Message{}, fmt.Errorf("store: get %s: %w", eventID, err)
	}
	return m, nil
}

// Filter says which messages are meant; an empty field, all.
type Filter struct{ UserID, State string }

// where returns the condition of f, whose parameters begin at $1.
func (f Filter) where() (text string, args []any) {
	conditions := []string{"1 = 1"}
	for _, c := range []struct{ column, value string }{{"user_id", f.UserID}, {"state", f.State}} {
		if c.value != "" {
			args = append(args, database.Text(c.value))
			conditions = append(conditions, fmt.Sprintf("%s = $%d", c.column, len(args)))
		}
	}
	return strings.Join(conditions, " AND "), args
}

// List returns at most limit messages, the one queued last first; those queued before the message of number before
// only, unless that is nil.
func (s *Store) List(ctx context.Context, f Filter, before *int64, limit int) ([]Message, error) {
	where, args := f.where()
	if before != nil {
		args = append(args, *before)
		where += fmt.Sprintf(" AND seq < $%d", len(args))
	}
	args = append(args, limit)
	text := fmt.Sprintf(`SELECT %s FROM messages WHERE %s ORDER BY seq DESC LIMIT $%d`, columns, where, len(args))
	rows, err := s.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("store: list: %w", err)
	}
	defer func() { _ = rows.Close() }() // its error is that of Err
	var list []Message
	for rows.Next() {
		m, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("store: list: %w", err)
		}
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: list: %w", err)
	}
	return list, nil
}

// CountUpTo counts messages, and stops at limit.
func (s *Store) CountUpTo(ctx context.Context, f Filter, limit int) (int64, error) {
	where, args := f.where()
	args = append(args, limit)
	text := fmt.Sprintf(`SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE %s LIMIT $%d) AS found`, where, len(args))
	return s.number(ctx, text, args...)
}

// Estimate returns about how many messages there are. Messages are never removed, so without a filter it is exact and
// costs nothing; with one it counts an index, a tenth of a second for some millions.
func (s *Store) Estimate(ctx context.Context, f Filter) (int64, error) {
	if f == (Filter{}) {
		return s.number(ctx, `SELECT messages FROM totals`)
	}
	where, args := f.where()
	return s.number(ctx, `SELECT COUNT(*) FROM messages WHERE `+where, args...)
}

func (s *Store) number(ctx context.Context, text string, args ...any) (n int64, err error) {
	if err := s.db.QueryRowContext(ctx, text, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("store: count: %w", err)
	}
	return n, nil
}

func scan(row interface{ Scan(dest ...any) error }) (Message, error) {
	var m Message
	var created, updated, next int64
	err := row.Scan(&m.Seq, &m.EventID, &m.UserID, &m.To, &m.Subject, &m.State, &m.Attempts, &m.LastError, &created, &updated, &next)
	m.CreateTime, m.UpdateTime, m.NextTime = fromMillis(created), fromMillis(updated), fromMillis(next)
	return m, err
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
