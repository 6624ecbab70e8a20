package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// What the methods of [Parking] refuse; test with [errors.Is].
var (
	// ErrNotParked is wrapped where no row has the id: it was taken after all, made up for, or discarded.
	ErrNotParked = errors.New("no parked event has this id")
	// ErrNoEvent is wrapped by Retry for a record that no handler will ever get: it can't be read as an event, or an
	// attribute of it is no key of a row. Discard it.
	ErrNoEvent = errors.New("it is no event that can be taken")
	// ErrBehind is wrapped by Retry for an event that waits behind another of its key, which has to go first.
	ErrBehind = errors.New("it waits behind an earlier event of its key")
)

// Parking is what is parked in a service's database, for tools: they look, retry and discard beside a service that runs,
// which finds their changes within a second. It works on every group of the database. Its methods are safe for
// concurrent use, each change is a transaction of its own, and none changes the order of a key.
type Parking struct {
	db     *sql.DB
	writer *sqldb.Writer
}

// ParkedEvent is a row of what is parked.
type ParkedEvent struct {
	ID    int64 // of the row; never given twice
	Group string
	// State is "parked" (it failed, and is tried again), "behind" (it waits behind a parked one of its key), "dead" (it
	// is tried no more until a person says so) or "unknown" (no route takes its type).
	State       string
	Source, Key string // cut to 1,024 bytes, as Type and EventID are
	Version     uint64 // 0 without one
	Have        uint64 // the last version of the key that was applied when the row came to stand where it stands
	Type        string
	EventID     string
	Reaction    bool      // what failed is a handler of [After]
	Attempts    int       // tries that failed
	Error       string    // of the last try; "" before one
	Time        time.Time // when it was parked
	Next        time.Time // not tried before this time; zero where it isn't tried
	At          bus.Position
	Raw         []byte // the envelope, or the bytes of a record that is no event; nil where many are listed
}

// Filter says which rows are listed. Its zero value takes the first 100 of all.
type Filter struct {
	Group, Source, Key, State string // "" is any
	After                     int64  // only ids above it: the last one of the page before
	Limit                     int    // 0 is 100; 1,000 at most
}

const (
	defaultListed = 100
	maxListed     = 1000
)

// OpenParking opens what is parked in db, SQLite or Postgres, which must allow two connections. It never migrates: a
// database without the inbox's tables is an error, and so is one whose tables are those of another release.
func OpenParking(ctx context.Context, db *sql.DB) (*Parking, error) {
	w, err := sqldb.Open(ctx, db)
	if err == nil {
		err = checkVersion(ctx, db, w.Dialect())
	}
	if err != nil {
		return nil, fmt.Errorf("inbox: parking: %w", err)
	}
	return &Parking{db: db, writer: w}, nil
}

// checkVersion compares the version of the tables with this program's.
func checkVersion(ctx context.Context, db *sql.DB, dialect sqldb.Dialect) error {
	want, err := newestMigration(dialect)
	if err != nil {
		return err
	}
	var have int64
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+versionTable).Scan(&have)
	switch {
	case err != nil && (storeFault(err) || ctx.Err() != nil):
		return err
	case err != nil || have == 0:
		return errors.Join(errors.New("this database has no tables of an inbox: is it the service's own, and was the service ever started on it"), err)
	case have != want:
		return fmt.Errorf("the inbox's tables are at version %d, and this program works on version %d: use the release that the service runs", have, want)
	}
	return nil
}

// newestMigration is the version that this program's migrations lead to.
func newestMigration(dialect sqldb.Dialect) (newest int64, err error) {
	files, err := fs.Glob(migrations, dialect.Folder()+"/*.sql")
	if err != nil {
		return 0, err
	}
	for _, name := range files {
		number, _, _ := strings.Cut(path.Base(name), "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, err
		}
		newest = max(newest, n)
	}
	return newest, nil
}

// listColumns are those of both tables, in the order of scanListed.
const listColumns = `id, grp, state, source, key, version, have, type, event_id, reaction, attempts, error, time, topic, log, part, off`

// scanListed reads a row that begins with listColumns.
func scanListed(row scanner, p *ParkedEvent, rest ...any) error {
	var version, have, at, reaction int64
	err := row.Scan(append([]any{&p.ID, &p.Group, &p.State, &p.Source, &p.Key, &version, &have, &p.Type, &p.EventID, &reaction,
		&p.Attempts, &p.Error, &at, &p.At.Topic, &p.At.Log, &p.At.Partition, &p.At.Offset}, rest...)...)
	p.Version, p.Have, p.Reaction, p.Time = uint64(version), uint64(have), reaction != 0, time.UnixMilli(at)
	return err
}

// where makes the condition of f, and its arguments.
func (f Filter) where() (text string, args []any) {
	var conditions []string
	add := func(condition string, arg any) {
		args = append(args, arg)
		conditions = append(conditions, condition+" $"+strconv.Itoa(len(args)))
	}
	add(`id >`, f.After)
	for _, c := range [...]struct{ column, value string }{{"grp", f.Group}, {"source", f.Source}, {"key", f.Key}, {"state", f.State}} {
		if c.value != "" {
			add(c.column+` =`, c.value)
		}
	}
	limit := min(orDefault(f.Limit, defaultListed), maxListed)
	text = ` WHERE ` + strings.Join(conditions, ` AND `) + ` ORDER BY id LIMIT ` + strconv.Itoa(max(0, limit))
	return text, args
}

// List returns parked events in order of their ids, without their bytes. Give the last id as Filter.After for the next
// page; the end is reached where fewer come than were asked for.
func (p *Parking) List(ctx context.Context, f Filter) ([]ParkedEvent, error) {
	where, args := f.where()
	var all []ParkedEvent
	err := query(ctx, p.db, func(row scanner) error {
		var e ParkedEvent
		var next int64
		err := scanListed(row, &e, &next)
		e.Next = timeOf(next)
		all = append(all, e)
		return err
	}, `SELECT `+listColumns+`, next FROM tidings_inbox_parked`+where, args...)
	if err != nil {
		return nil, fmt.Errorf("inbox: parking: list: %w", err)
	}
	return all, nil
}

// timeOf is the time of ms milliseconds since 1970; 0 is the zero time.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Get returns one parked event with its bytes, or an error that wraps [ErrNotParked].
func (p *Parking) Get(ctx context.Context, id int64) (ParkedEvent, error) {
	e, _, err := p.get(ctx, p.db, id, "")
	if err != nil {
		return ParkedEvent{}, fmt.Errorf("inbox: parking: event %d: %w", id, err)
	}
	return e, nil
}

// place is where a row stands: see the migration.
type place struct{ line, seq int64 }

// get reads a row, and locks it where lock says so.
func (p *Parking) get(ctx context.Context, q querier, id int64, lock string) (e ParkedEvent, at place, err error) {
	const text = `SELECT ` + listColumns + `, next, line, seq, raw FROM tidings_inbox_parked WHERE id = $1`
	var next int64
	err = scanListed(q.QueryRowContext(ctx, text+lock, id), &e, &next, &at.line, &at.seq, &e.Raw)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotParked
	}
	e.Next = timeOf(next)
	return e, at, err
}

// event reads the event that the row holds.
func (e *ParkedEvent) event() (bus.Event, error) {
	ev, err := bus.ParseEnvelope(e.Raw)
	if err == nil && e.Source == "" { // a record that was refused before its envelope was looked at
		err = errors.New("the record holds no event")
	}
	if err == nil {
		err = unfit(&ev)
	}
	if err != nil {
		return ev, fmt.Errorf("%w: %w", ErrNoEvent, err)
	}
	ev.At = e.At
	return ev, nil
}
