package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

// versionTable keeps which migrations of the service have run. The library's tables, of bus/outbox and bus/inbox,
// have tables of their own for that.
const versionTable = "service_migrations"

// Migrate runs what has not yet run of the service's migrations: goose's SQL files, in files under
// migrations/<dialect>, "migrations/sqlite/00001_people.sql". Each runs in a transaction of its own; when one
// fails, those before it stay done and nothing of it is left. It blocks until all have run.
//
// Replicas that start together on Postgres migrate one after another: who comes second waits, and goes on from what it
// finds. A schema that belongs to another service is refused by an error that wraps [ErrInUse]; a database that a newer
// program has migrated further is refused too, for its tables may have changed their meaning.
func (db *DB) Migrate(ctx context.Context, files fs.FS) error {
	return endOf(ctx, db.migrate(ctx, files))
}

func (db *DB) migrate(ctx context.Context, files fs.FS) error {
	if db.Dialect == Postgres {
		unlock, err := db.lockMigrations(ctx)
		if err != nil {
			return fmt.Errorf("database: migrate %s: lock: %w", db.name, err)
		}
		defer unlock()
		if err := db.claim(ctx); err != nil {
			return fmt.Errorf("database: migrate %s: %w", db.name, err)
		}
	}
	return db.up(ctx, files)
}

func (db *DB) up(ctx context.Context, files fs.FS) error {
	p, err := db.provider(files)
	if err != nil {
		return fmt.Errorf("database: migrations of %s: %w", db.name, err)
	}
	have, newest, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("database: migrate %s: %w", db.name, err)
	}
	if have > newest {
		return fmt.Errorf("database: migrate %s: it is at version %d and this program knows %d; run the newer program, or pass another %s with --db", db.name, have, newest, db.what())
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("database: migrate %s: %w", db.name, err)
	}
	if len(done) > 0 {
		db.log.InfoContext(ctx, "database migrated", "database", db.name, "from", have, "to", newest)
	}
	return nil
}

// what is what --db names one of.
func (db *DB) what() string {
	if db.Dialect == Postgres {
		return "schema"
	}
	return "file"
}

func (db *DB) provider(files fs.FS) (*goose.Provider, error) {
	dialects := map[Dialect]goose.Dialect{SQLite: goose.DialectSQLite3, Postgres: goose.DialectPostgres}
	own, err := fs.Sub(files, "migrations/"+string(db.Dialect))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialects[db.Dialect], db.DB, own, goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

// claim writes down whose schema this is, or refuses one that is another service's. Two services in one schema would
// take one another's tables for their own.
func (db *DB) claim(ctx context.Context) error {
	if db.service == "" {
		return nil
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS service_owner (service TEXT NOT NULL)`); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO service_owner (service)
		SELECT CAST($1 AS TEXT) WHERE NOT EXISTS (SELECT 1 FROM service_owner)`, db.service); err != nil {
		return err
	}
	var owner string
	if err := db.QueryRowContext(ctx, `SELECT service FROM service_owner`).Scan(&owner); err != nil {
		return err
	}
	if owner != db.service {
		return fmt.Errorf("the schema %w by the service %s; give each service its own: leave ?%s out of --db, or pass another", ErrInUse, owner, paramSchema)
	}
	return nil
}

const (
	// lockPoll is how often a lock that another replica holds is asked for. A statement that waits for it would hold a
	// snapshot meanwhile, for which a CREATE INDEX CONCURRENTLY of the holder would wait in turn.
	lockPoll = 25 * time.Millisecond
	// unlockLimit bounds how long the lock may take to be given back; then its connection is closed instead.
	unlockLimit = 5 * time.Second
	// lockKey is the number of the lock for this schema.
	lockKey = `hashtextextended(coalesce(current_schema(), '') || '.` + versionTable + `', 0)`
)

// lockMigrations takes an advisory lock of Postgres. goose's own would ask once a second, and does not guard the making
// of its version table. It is kept by a connection, and goes with it.
func (db *DB) lockMigrations(ctx context.Context) (unlock func(), err error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := tryLock(ctx, c); err != nil {
		discard(c) // it may have the lock after all
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockLimit)
		defer cancel()
		if _, err := c.ExecContext(ctx, `SELECT pg_advisory_unlock(`+lockKey+`)`); err != nil {
			discard(c)
			return
		}
		_ = c.Close() // it goes back to the pool
	}, nil
}

// tryLock asks until it has the lock, or ctx ends.
func tryLock(ctx context.Context, c *sql.Conn) error {
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		var locked bool
		if err := c.QueryRowContext(ctx, `SELECT pg_try_advisory_lock(`+lockKey+`)`).Scan(&locked); err != nil || locked {
			return err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// discard closes a connection for good.
func discard(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Close() // it is closed already, unless Raw was not let in
}
