package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

// Migrate brings the tables of one room up to the newest of its migrations: goose's SQL files at the top of files,
// for one dialect. versionTable keeps which of them have run, a table for each room, so that rooms share a database
// with one another and with a service's own goose migrations. Each migration runs in a transaction of its own.
//
// Several processes may migrate one database at a time: who comes second waits, and goes on from what it finds. On
// SQLite, where no lock spans a migration, write each so that it fails where it has run, as CREATE TABLE does. A
// database that a newer program has migrated further is an error, for its tables may have changed their meaning.
//
// Put what stands under "+goose Up" between one StatementBegin and its End: both databases take many statements at a
// time, and to find their ends by itself goose clears up to 4 MB a line, which takes longer than to execute them.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect, files fs.FS, versionTable string) error {
	if dialect == Postgres {
		unlock, err := lockMigrations(ctx, db, versionTable)
		if err != nil {
			return fmt.Errorf("sqldb: migrate %s: lock: %w", versionTable, err)
		}
		defer unlock()
	}
	p, err := goose.NewProvider(goose.Dialect(dialect), db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("sqldb: migrations of %s: %w", versionTable, err)
	}
	if err := up(ctx, p); err != nil {
		return fmt.Errorf("sqldb: migrate %s: %w", versionTable, err)
	}
	return nil
}

// up migrates to the newest version. On SQLite another process may do it at the same time.
func up(ctx context.Context, p *goose.Provider) error {
	before, newest, err := p.GetVersions(ctx)
	for err == nil && before < newest {
		_, failed := p.Up(ctx)
		var after int64
		if after, err = p.GetDBVersion(ctx); failed != nil && after == before {
			err = failed // nobody else has done it meanwhile
		}
		before = after
	}
	if err == nil && before > newest {
		err = fmt.Errorf("the database is at version %d and this program knows %d: run a newer program", before, newest)
	}
	return err
}

// lockPoll is how often a lock that another process holds is asked for. A statement that waits for it would hold a
// snapshot meanwhile, for which a CREATE INDEX CONCURRENTLY of the holder would wait in turn.
const lockPoll = 25 * time.Millisecond

// lockKey is the number of the lock for a table, $1, in the schema at hand.
const lockKey = `hashtextextended(coalesce(current_schema(), '') || '.' || $1::text, 0)`

// lockMigrations takes an advisory lock of Postgres for a room's tables. goose's own would ask
// once a second, and does not guard the making of its version table. It is kept by a connection, and goes with it.
func lockMigrations(ctx context.Context, db *sql.DB, versionTable string) (unlock func(), err error) {
	if err := needsTwo(db); err != nil {
		return nil, err
	}
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := tryLock(ctx, c, versionTable); err != nil {
		discard(c) // it may have the lock after all
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultGrace)
		defer cancel()
		if _, err := c.ExecContext(ctx, `SELECT pg_advisory_unlock(`+lockKey+`)`, versionTable); err != nil {
			discard(c)
			return
		}
		_ = c.Close()
	}, nil
}

// tryLock asks until it has the lock, or ctx ends.
func tryLock(ctx context.Context, c *sql.Conn, versionTable string) error {
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		var locked bool
		if err := c.QueryRowContext(ctx, `SELECT pg_try_advisory_lock(`+lockKey+`)`, versionTable).Scan(&locked); err != nil || locked {
			return err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
