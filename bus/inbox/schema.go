package inbox

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

//go:embed migrations
var migrations embed.FS

// versionTable is where goose keeps which migrations have run.
const versionTable = "tidings_inbox_version"

// migrate makes the tables, and learns the group's name on the wire. The database's own id is made by the first
// migration and travels with copies of the file: a copy put back goes on as the group that it was.
func (in *Inbox) migrate(ctx context.Context) error {
	dialect := in.writer.Dialect()
	files, err := fs.Sub(migrations, dialect.Folder())
	if err != nil {
		return err
	}
	if err := sqldb.Migrate(ctx, in.cfg.DB, dialect, files, versionTable); err != nil {
		return err
	}
	var id string
	if err := in.cfg.DB.QueryRowContext(ctx, `SELECT id FROM tidings_inbox_database`).Scan(&id); err != nil {
		return fmt.Errorf("the database's id: %w", err)
	}
	in.group = in.cfg.Group + "." + id
	return in.introduce(ctx)
}

// introduce writes down what kind of handler the group has, for tools that work on the database without it. Where that
// is written nothing is: who only reads, by New and Status, needs no right to write.
func (in *Inbox) introduce(ctx context.Context) error {
	const known = `SELECT EXISTS (SELECT 1 FROM tidings_inbox_group WHERE grp = $1 AND history = $2)`
	var is bool
	if err := in.cfg.DB.QueryRowContext(ctx, known, in.cfg.Group, b2i(in.every)).Scan(&is); err != nil || is {
		return err
	}
	const text = `INSERT INTO tidings_inbox_group (grp, history) VALUES ($1, $2)
		ON CONFLICT (grp) DO UPDATE SET history = excluded.history WHERE tidings_inbox_group.history <> excluded.history`
	err := in.writer.InTx(ctx, func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, text, in.cfg.Group, b2i(in.every))
		return err
	})
	if err != nil {
		return fmt.Errorf("the group's kind: %w", err)
	}
	return nil
}

// sources remembers the numbers that stand for sources in the tables. Numbers never change, and there are as many as
// there are services that publish.
type sources struct {
	mu  sync.RWMutex
	ids map[string]int64
}

func (s *sources) known(source string) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, ok := s.ids[source]
	return id, ok
}

func (s *sources) learn(ids map[string]int64) {
	if len(ids) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = make(map[string]int64)
	}
	for source, id := range ids {
		s.ids[source] = id
	}
}

// learnSources gives every source of events that has no number one, in order: who waits here for another replica, which
// is giving the same ones, must not have what that one waits for.
func (a *attempt) learnSources(ctx context.Context, events []bus.Event) error {
	var strange []string
	last := ""
	for i := range events {
		e := &events[i]
		if e.Source == last || a.cfg.foreign(e.Source) || unfit(e) != nil {
			continue
		}
		last = e.Source
		if _, ok := a.sources.known(last); !ok && !slices.Contains(strange, last) {
			strange = append(strange, last)
		}
	}
	slices.Sort(strange)
	for _, source := range strange {
		if _, err := a.sourceID(ctx, source); err != nil {
			return fmt.Errorf("source %q: %w", source, err)
		}
	}
	return nil
}

// sourceID returns the number of a source, giving it one at need. It is remembered only once that is committed: a
// number that was rolled back is given to the next source.
func (a *attempt) sourceID(ctx context.Context, source string) (int64, error) {
	if id, ok := a.sources.known(source); ok {
		return id, nil
	}
	if id, ok := a.newSources[source]; ok {
		return id, nil
	}
	id, ok, err := findSource(ctx, a.tx, a.cfg.Group, source)
	if err == nil && !ok {
		const insert = `INSERT INTO tidings_inbox_source (grp, source) VALUES ($1, $2) ON CONFLICT (grp, source) DO NOTHING`
		if _, err = a.tx.ExecContext(ctx, insert, a.cfg.Group, source); err == nil {
			id, _, err = findSource(ctx, a.tx, a.cfg.Group, source)
		}
	}
	if err != nil {
		return 0, err
	}
	if a.newSources == nil {
		a.newSources = make(map[string]int64)
	}
	a.newSources[source] = id
	return id, nil
}

// querier is what reads need: a transaction or the pool.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// findSource looks a source's number up; ok is false where the group has never seen the source.
func findSource(ctx context.Context, q querier, group, source string) (id int64, ok bool, err error) {
	err = q.QueryRowContext(ctx, `SELECT id FROM tidings_inbox_source WHERE grp = $1 AND source = $2`, group, source).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, err
}
