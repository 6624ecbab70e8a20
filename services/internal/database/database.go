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
	Postgres Dialect = "postgres"
)

// ForUpdate ends a SELECT that locks the rows it reads until the transaction ends. It is empty on SQLite, where who
// writes has the whole database for itself.
func (d Dialect) ForUpdate() string {
	if d == Postgres {
		return " FOR UPDATE"
	}
	return ""
}

// DB is a service's database. It is safe for concurrent use.
type DB struct {
	*sql.DB
	// Dialect is the kind of database that this is.
	Dialect Dialect

	name    string // for people: the file, or the schema and where it is
	service string // whose database it is; "" for nobody's in particular
	lock    *fileLock
	log     *slog.Logger
}

// Errors that callers decide by; test with [errors.Is].
var (
	// ErrInUse is wrapped by the error of Open where another process, or this one, has the SQLite file open, and by
	// that of Migrate where the schema belongs to another service.
	ErrInUse = errors.New("is in use")
	// ErrUnsupported is wrapped by the error of Open for a kind of database that this program can't use.
	ErrUnsupported = errors.New("this kind of database can't be used")
)

// Option is a setting of [Open].
type Option func(*options)

// options are what Open is told beside the DSN.
type options struct{ service string }

// ForService names the service that the database is for. On Postgres that is the schema where the DSN names none, and
// [DB.Migrate] refuses a schema that another service has migrated: so services that are given one DSN are kept apart.
func ForService(name string) Option { return func(o *options) { o.service = name } }

// Open opens the database that dsn names, and makes it where there is none. It returns once the database has
// answered. A dsn is
//
//	directory.db, ./data/directory.db, /srv/directory.db     a SQLite file by its path
//	sqlite:///srv/directory.db, file:directory.db            the same as a URL, absolute or relative
//	postgres://user@host:5432/database?schema=directory      a schema in a database of a Postgres server
//
// The folder of a SQLite file is made too. The file is this DB's alone until [DB.Close], or until the process ends
// in whatever way; a second Open is refused by an error that names the file and wraps [ErrInUse].
//
// On Postgres the schema is made if it is missing, and the database has to be there. Any number of processes may open
// it: replicas of a service share it. The package's documentation lists the URL's parameters. Open tries once, for 5 s
// or ?connect_timeout, and its error says what to do.
func Open(ctx context.Context, dsn string, log *slog.Logger, opts ...Option) (*DB, error) {
	var o options
	for _, set := range opts {
		set(&o)
	}
	db, err := open(ctx, dsn, o, log)
	if err != nil {
		return nil, fmt.Errorf("database: %w", endOf(ctx, err))
	}
	db.service = o.service
	return db, nil
}

func open(ctx context.Context, dsn string, o options, log *slog.Logger) (*DB, error) {
	if DialectOf(dsn) == Postgres {
		server, err := parsePostgres(dsn, o.service)
		if err != nil {
			return nil, err
		}
		return openPostgres(ctx, server, log)
	}
	path, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return openSQLite(ctx, path, log)
}

// Name is what a person calls the database: the path of the file, or the schema and the server. It holds no password.
func (db *DB) Name() string { return db.name }

// readable are queries that look at more than memory, and give 0 where there is nothing to be read.
var readable = map[Dialect]string{
	SQLite:   `SELECT count(*) + 1 FROM sqlite_schema`,
	Postgres: `SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = current_schema()`,
}

// Readable returns nil if the database answers a read now. It reads what is stored, not only memory, and waits for no
// writer. Without a deadline it may wait for a server that doesn't answer.
func (db *DB) Readable(ctx context.Context) error {
	var n int
	err := db.QueryRowContext(ctx, readable[db.Dialect]).Scan(&n)
	if err == nil && n == 0 {
		err = errors.New("the schema is gone")
	}
	if err != nil {
		return fmt.Errorf("database: %s can't be read: %w", db.name, err)
	}
	return nil
}

// Close closes the connections and lets others have the file. End everything that uses db before: the file is free
// only when the last connection is given back. A second Close does nothing.
func (db *DB) Close() error {
	err := db.DB.Close()
	if db.lock != nil {
		err = errors.Join(err, db.lock.release())
	}
	if err != nil {
		return fmt.Errorf("database: close %s: %w", db.name, err)
	}
	return nil
}
