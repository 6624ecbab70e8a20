package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
)

// Dialect is a kind of database.
type Dialect string

// The dialects; each names the folder of its migrations.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres" // [Open] refuses it for now
)

// DB is a service's database. It is safe for concurrent use.
type DB struct {
	*sql.DB
	// Dialect is the kind of database that this is.
	Dialect Dialect

	name string // for people: the file
	lock *fileLock
	log  *slog.Logger
}

// Errors that callers decide by; test with [errors.Is].
var (
	// ErrInUse is wrapped by the error of Open where another process, or this one, has the database open.
	ErrInUse = errors.New("is in use")
	// ErrUnsupported is wrapped by the error of Open for a kind of database that this program can't use.
	ErrUnsupported = errors.New("this kind of database can't be used")
)

// Open opens the database that dsn names, and makes it where there is none. It returns once the database has
// answered. A dsn is
//
//	directory.db, ./data/directory.db, /srv/directory.db     a SQLite file by its path
//	sqlite:///srv/directory.db, file:directory.db            the same as a URL, absolute or relative
//	postgres://…                                             refused by an error that wraps [ErrUnsupported]
//
// The folder of a SQLite file is made too. The file is this DB's alone until [DB.Close], or until the process ends
// in whatever way; a second Open is refused by an error that names the file and wraps [ErrInUse].
func Open(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	path, err := parseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	db, err := openSQLite(ctx, path, log)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return db, nil
}

// Name is what a person calls the database: the path of the file.
func (db *DB) Name() string { return db.name }

// Readable returns nil if the database answers a read now. It reads from the file, not only from memory, and waits
// for no writer.
func (db *DB) Readable(ctx context.Context) error {
	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
		return fmt.Errorf("database: %s can't be read: %w", db.name, err)
	}
	return nil
}

// Close closes the connections and lets others have the file. End everything that uses db before: the file is free
// only when the last connection is given back. A second Close does nothing.
func (db *DB) Close() error {
	if err := errors.Join(db.DB.Close(), db.lock.release()); err != nil {
		return fmt.Errorf("database: close %s: %w", db.name, err)
	}
	return nil
}
