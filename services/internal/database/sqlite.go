package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// busyTimeout is how long a statement waits for the write lock. Commits take milliseconds; a checkpoint of a
	// large log, or a migration, may take seconds.
	busyTimeout = 10 * time.Second
	// checkpointPages is the length at which the write-ahead log is carried over into the file: 20,000 pages of
	// 4 KiB. Catching up in large transactions is faster so than with SQLite's own 1,000.
	checkpointPages = 20_000
	// pinned counts the connections that are kept by a writer: the outbox's, the inbox's.
	pinned = 2
)

func openSQLite(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	connector, err := newConnector(path, url.Values{"_journal_mode": {"WAL"}})
	if err != nil {
		return nil, withRelease(lock, err)
	}
	db := &DB{DB: sql.OpenDB(connector), Dialect: SQLite, name: path, lock: lock, log: log}
	limitPool(db.DB)
	if err := db.Readable(ctx); err != nil {
		_ = db.Close() // the error that matters is the one before
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	log.DebugContext(ctx, "database opened", "file", path, "sqlite", sqliteVersion())
	return db, nil
}

// limitPool leaves, beside the writers, a few connections that read. Idle ones stay: each keeps prepared
// statements and a page cache.
func limitPool(db *sql.DB) {
	size := pinned + max(4, runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
}

// connector opens connections by the driver itself, so that nothing has to be registered by a name.
type connector struct {
	driver *sqlite3.SQLiteDriver
	dsn    string
}

// newConnector makes one that opens path with our settings, and with more.
func newConnector(path string, more url.Values) (*connector, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("path of %s: %w", path, err)
	}
	// As a URI, for only there is every character of a file's name safe from being taken for a parameter.
	settings := url.Values{
		"_txlock":       {"immediate"}, // a deferred transaction that reads, then writes, fails without waiting
		"_synchronous":  {"FULL"},      // mattn's own default, NORMAL, may lose the last commits with the power
		"_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())},
		"_foreign_keys": {"off"},
	}
	maps.Copy(settings, more)
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: settings.Encode()}
	d := &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		_, err := c.Exec(fmt.Sprintf("PRAGMA wal_autocheckpoint=%d", checkpointPages), nil)
		return err
	}}
	return &connector{driver: d, dsn: u.String()}, nil
}

// Connect opens a connection. It doesn't look at ctx: opening a file blocks no longer than busyTimeout.
func (c *connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

// Driver returns the driver that Connect uses.
func (c *connector) Driver() driver.Driver { return c.driver }

func sqliteVersion() string {
	v, _, _ := sqlite3.Version()
	return v
}
