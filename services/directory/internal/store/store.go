package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/times"
)

// Migrations holds the tables' goose migrations: migrations/<dialect>/*.sql.
//
//go:embed migrations
var Migrations embed.FS

// ErrNotFound is returned for an id that no event was ever applied for.
var ErrNotFound = errors.New("no such person")

// Person is a user as of one version.
type Person struct {
	ID      string
	Version uint64
	// Deleted says that the user is gone as of Version. Then nothing below is set.
	Deleted    bool
	Email      string
	Name       string
	CreateTime time.Time // zero where unknown
	UpdateTime time.Time // zero where unknown
	// What not every event tells. Nil: nothing was told of it, so what was there before stays. Empty: they have none.
	DisplayName, Locale, Phone *string
	Parts                      *Parts
	// PartsGuessed says that nobody has told the parts: they are Name, split. Those that are there and make up Name stay.
	PartsGuessed bool
}

// Parts are those of a name.
type Parts struct {
	Given, Family string
	Order         int32 // a users.events.v2.NameOrder, as it came: one that no release knows yet is kept, too
}

// Store is the directory's database. It is safe for concurrent use.
type Store struct {
	db   *database.DB
	many statements
}

// New makes a store of a database that has been migrated.
func New(db *database.DB) *Store { return &Store{db: db, many: newStatements(db.Dialect)} }

// Get returns the person with this id as of the newest version applied, deleted ones included, or [ErrNotFound].
func (s *Store) Get(ctx context.Context, id string) (Person, error) {
	row := s.db.QueryRowContext(ctx, `SELECT `+personColumns+` FROM people p WHERE p.id = $1`, database.Text(id))
	p, err := scanPerson(row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Person{}, fmt.Errorf("store: get %s: %w", id, ErrNotFound)
	case err != nil:
		return Person{}, fmt.Errorf("store: get %s: %w", id, err)
	}
	return p, nil
}

// Count returns how many people there are, deleted ones not counted. It adds up the segments' counts, which costs
// nothing to speak of.
func (s *Store) Count(ctx context.Context) (int64, error) {
	var n int64
	err := s.db.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(people), 0) AS BIGINT) FROM segments`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("store: count: %w", err)
	}
	return n, nil
}

// personColumns are what scanPerson reads of the table people, as p.
const personColumns = `p.id, p.version, p.deleted, p.email, p.name, p.create_time, p.update_time, ` + toldColumns

// toldColumns are those of what not every event tells.
const toldColumns = `p.display_name, p.locale, p.phone, p.given_name, p.family_name, p.name_order`

// scanner is a row, of one or of many.
type scanner interface{ Scan(dest ...any) error }

// scanPerson reads personColumns, and into rest what follows them.
func scanPerson(row scanner, rest ...any) (Person, error) {
	var p Person
	var created, updated sql.NullInt64
	var parts nullParts
	dest := []any{&p.ID, &p.Version, &p.Deleted, &p.Email, &p.Name, &created, &updated}
	err := row.Scan(append(append(dest, parts.told(&p)...), rest...)...)
	p.CreateTime, p.UpdateTime, p.Parts = times.FromNanos(created), times.FromNanos(updated), parts.parts()
	return p, err
}

// nullParts are the columns of Parts, which are all NULL, or none is.
type nullParts struct {
	given, family sql.NullString
	order         sql.NullInt32
}

// told is where toldColumns are read to: into p, but for the parts.
func (n *nullParts) told(p *Person) []any {
	return []any{&p.DisplayName, &p.Locale, &p.Phone, &n.given, &n.family, &n.order}
}

func (n *nullParts) parts() *Parts {
	if !n.given.Valid {
		return nil
	}
	return &Parts{n.given.String, n.family.String, n.order.Int32}
}

// eachRow calls scan for every row of a query until scan says that it has enough.
func (s *Store) eachRow(ctx context.Context, scan func(rows *sql.Rows) (more bool, err error), text string, args ...any) error {
	rows, err := s.db.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if more, err := scan(rows); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}
