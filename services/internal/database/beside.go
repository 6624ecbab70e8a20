package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
)

// OpenBeside opens a database that is there already, for a person's tool that looks into it, or mends something in it,
// beside the service that may be running on it. It takes no part in the lock of a SQLite file, which keeps a second
// service out and not a second reader: SQLite's own locks let one write at a time. It makes no file, folder or schema,
// and changes none; don't migrate what it opens. The dsn is that of [Open], and so is what is said of the service.
//
// A database that isn't there is an error that wraps [fs.ErrNotExist].
func OpenBeside(ctx context.Context, dsn string, opts ...Option) (*DB, error) {
	var o options
	for _, set := range opts {
		set(&o)
	}
	db, err := openBeside(ctx, dsn, o)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	db.service = o.service
	return db, nil
}

func openBeside(ctx context.Context, dsn string, o options) (*DB, error) {
	log := slog.New(slog.DiscardHandler)
	if DialectOf(dsn) == Postgres {
		s, err := parsePostgres(dsn, o.service)
		if err != nil {
			return nil, err
		}
		return connectPostgres(ctx, s, s.needSchema, log)
	}
	path, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return openFileBeside(ctx, path, log)
}

// openFileBeside leaves the file as it is: what makes it a service's, its write-ahead log, is written down in it.
func openFileBeside(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missing("there is no " + path + "; pass the database that the service was started with: --db")
	case err != nil:
		return nil, err
	}
	connector, err := newConnector(path, url.Values{"mode": {"rw"}})
	if err != nil {
		return nil, err
	}
	db := &DB{DB: sql.OpenDB(connector), Dialect: SQLite, name: path, log: log}
	limitPool(db.DB)
	if err := db.Readable(ctx); err != nil {
		_ = db.Close() // the error that matters is the one before
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// missing says what is not there. It wraps [fs.ErrNotExist], whose own text would add nothing.
type missing string

func (m missing) Error() string { return string(m) }
func (m missing) Unwrap() error { return fs.ErrNotExist }

// needSchema wants the schema to be there.
func (s *server) needSchema(ctx context.Context, pool *sql.DB) error {
	there, err := s.hasSchema(ctx, pool, "USAGE")
	if err == nil && !there {
		err = missing("there is no such schema; pass the database that the service was started with: --db")
	}
	return err
}
