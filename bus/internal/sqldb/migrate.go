package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// Migrate brings the tables of one room up to the newest of its migrations: goose's SQL files at the top of files,
// for one dialect. versionTable keeps which of them have run, a table for each room, so that rooms share a database
// with one another and with a service's own goose migrations. Each migration runs in a transaction of its own.
//
// Several processes may migrate one database at a time: who comes second waits, and goes on from what it finds. A
// database that a newer program has migrated further is an error, for its tables may have changed their meaning.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect, files fs.FS, versionTable string) error {
	p, err := goose.NewProvider(goose.Dialect(dialect), db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("sqldb: migrations of %s: %w", versionTable, err)
	}
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
	if err != nil {
		return fmt.Errorf("sqldb: migrate %s: %w", versionTable, err)
	}
	return nil
}
