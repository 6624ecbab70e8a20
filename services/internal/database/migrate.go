package database

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// versionTable keeps which migrations of the service have run. The library's tables, of bus/outbox and bus/inbox,
// have tables of their own for that.
const versionTable = "service_migrations"

// Migrate runs what has not yet run of the service's migrations: goose's SQL files, in files under
// migrations/<dialect>, "migrations/sqlite/00001_people.sql". Each runs in a transaction of its own; when one
// fails, those before it stay done and nothing of it is left. It blocks until all have run.
//
// A database that a newer program has migrated further is refused, for its tables may have changed their meaning.
func (db *DB) Migrate(ctx context.Context, files fs.FS) error {
	p, err := db.provider(files)
	if err != nil {
		return fmt.Errorf("database: migrations of %s: %w", db.name, err)
	}
	have, newest, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("database: migrate %s: %w", db.name, err)
	}
	if have > newest {
		return fmt.Errorf("database: migrate %s: it is at version %d and this program knows %d; run the newer program, or pass another file with --db", db.name, have, newest)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("database: migrate %s: %w", db.name, err)
	}
	if len(done) > 0 {
		db.log.InfoContext(ctx, "database migrated", "file", db.name, "from", have, "to", newest)
	}
	return nil
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
