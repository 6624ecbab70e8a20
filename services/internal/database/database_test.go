package database_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tidings-dev/tidings/services/internal/database"
)

var discard = slog.New(slog.DiscardHandler)

// open opens path and closes it when the test ends.
func open(t *testing.T, path string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), path, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestOpenMakesFolderAndFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, dsn := range []string{
		"plain.db", "./a/b/nested.db", filepath.Join(dir, "absolute.db"),
		"sqlite://" + dir + "/url.db", "sqlite:relative.db", "file:" + dir + "/file.db", "file://" + dir + "/file3.db",
		"sqlite://" + dir + "/with%20space.db", "odd ?#%20&name=1.db",
	} {
		t.Run(dsn, func(t *testing.T) {
			db := open(t, dsn)
			if _, err := db.Exec(`CREATE TABLE t (n)`); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(db.Name()); err != nil || info.Size() == 0 && !hasLog(db.Name()) {
				t.Errorf("no file at %s: %v", db.Name(), err)
			}
			if db.Dialect != database.SQLite {
				t.Errorf("dialect %q", db.Dialect)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "with space.db")); err != nil {
		t.Errorf("an escaped path is not decoded: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "odd ?#%20&name=1.db")); err != nil {
		t.Errorf("a plain path is not taken as it is: %v", err)
	}
}

func hasLog(path string) bool {
	_, err := os.Stat(path + "-wal")
	return err == nil
}

func TestOpenRefusesWhatItCantUse(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		dsn, want   string
		unsupported bool
	}{
		{"", "no database is named; pass the path of a file with --db", false},
		{":memory:", "would be lost at every stop", false},
		{"file::memory:?cache=shared", "would be lost at every stop", false},
		{"host=h user=u password=geheim dbname=d", "pass a URL: --db postgres://user@host:5432/database", false},
		{"mysql://u:geheim@h/db", `unknown scheme "mysql"`, true},
		{"sqlite:///x.db?_synchronous=OFF", `takes no parameters; remove "?_synchronous=OFF"`, false},
		{"sqlite://data/x.db", "three slashes", false},
		{"file:///a%zz", "invalid URL escape", false},
		{dir + "/", "names a folder", false},
		{"a\x00b", "zero byte", false},
		{dir, "open " + dir, false}, // a folder that is there
		{"/proc/nothing/x.db", "folder of /proc/nothing/x.db", false},
	}
	for _, tt := range tests {
		t.Run(tt.dsn, func(t *testing.T) {
			db, err := database.Open(t.Context(), tt.dsn, discard)
			if err == nil {
				_ = db.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("got %v, want %q in it and no password", err, tt.want)
			}
			if got := errors.Is(err, database.ErrUnsupported); got != tt.unsupported {
				t.Errorf("ErrUnsupported is %v, want %v", got, tt.unsupported)
			}
		})
	}
}

func TestEveryConnectionHasItsSettings(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	want := map[string]string{
		"journal_mode": "wal", "synchronous": "2", "busy_timeout": "10000",
		"foreign_keys": "0", "wal_autocheckpoint": "20000",
	}
	conns := db.Stats().MaxOpenConnections
	if conns < 4 {
		t.Fatalf("the pool has %d connections; two writers and some readers need more", conns)
	}
	for range conns {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for name, value := range want {
			var got string
			if err := c.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != value {
				t.Errorf("%s is %q, want %q (%v)", name, got, value, err)
			}
		}
	}
}

func TestTransactionsThatReadAndThenWriteWaitForOneAnother(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	if _, err := db.Exec(`CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)`); err != nil {
		t.Fatal(err)
	}
	add := func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT n FROM counter`).Scan(&n); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE counter SET n = $1`, n+1); err != nil {
			return err
		}
		return tx.Commit()
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				if err := add(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	var n int
	if err := db.QueryRow(`SELECT n FROM counter`).Scan(&n); err != nil || n != 100 {
		t.Errorf("the counter is %d (%v), want 100", n, err)
	}
}

func TestReadsGoOnWhileSomebodyWrites(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	tx, err := db.Begin() // holds the write lock
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`CREATE TABLE t (n)`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // less than a wait for the lock
	defer cancel()
	if err := db.Readable(ctx); err != nil {
		t.Error(err)
	}
}

func TestReadableSaysWhichFileCantBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := database.Open(t.Context(), path, discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Readable(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error with %s in it", err, path)
	}
	if err := db.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	if _, err := db.Exec(`CREATE TABLE t (id TEXT PRIMARY KEY, email TEXT UNIQUE, n INTEGER NOT NULL); INSERT INTO t VALUES ('a', 'e', 1)`); err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) error {
		_, err := db.Exec(statement)
		return fmt.Errorf("store: %w", err)
	}
	locked := func() error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		c, err := db.Conn(t.Context())
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.ExecContext(t.Context(), `PRAGMA busy_timeout=0`); err != nil {
			return err
		}
		defer c.ExecContext(t.Context(), `PRAGMA busy_timeout=10000`)
		_, err = c.ExecContext(t.Context(), `INSERT INTO t VALUES ('z', 'z', 1)`)
		return fmt.Errorf("store: %w", err)
	}
	tests := []struct {
		name                string
		err                 error
		unique, unavailable bool
	}{
		{"primary key", exec(`INSERT INTO t VALUES ('a', 'f', 1)`), true, false},
		{"unique index", exec(`INSERT INTO t VALUES ('b', 'e', 1)`), true, false},
		{"not null", exec(`INSERT INTO t VALUES ('c', 'g', NULL)`), false, false},
		{"syntax", exec(`SELEKT`), false, false},
		{"locked", locked(), false, true},
		{"none", nil, false, false},
		{"another", errors.New("UNIQUE constraint failed"), false, false},
	}
	for _, tt := range tests {
		if got := database.IsUnique(tt.err); got != tt.unique {
			t.Errorf("%s: IsUnique(%v) is %v", tt.name, tt.err, got)
		}
		if got := database.IsUnavailable(tt.err); got != tt.unavailable {
			t.Errorf("%s: IsUnavailable(%v) is %v", tt.name, tt.err, got)
		}
	}
}

func migrations(files map[string]string) fs.FS {
	all := fstest.MapFS{}
	for name, text := range files {
		all["migrations/sqlite/"+name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return all
}

func TestMigrateRunsWhatHasNotRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	first := map[string]string{"00001_people.sql": `CREATE TABLE people (id TEXT PRIMARY KEY);`}
	both := map[string]string{
		"00001_people.sql": first["00001_people.sql"],
		"00002_name.sql":   `ALTER TABLE people ADD COLUMN name TEXT;`,
	}
	for _, files := range []map[string]string{first, first, both, both} {
		db, err := database.Open(t.Context(), path, discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), migrations(files)); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db := open(t, path)
	if _, err := db.Exec(`INSERT INTO people (id, name) VALUES ($1, $2)`, "1", "Ada"); err != nil {
		t.Error(err)
	}
	err := db.Migrate(t.Context(), migrations(first))
	if err == nil || !strings.Contains(err.Error(), "it is at version 2 and this program knows 1") {
		t.Errorf("an older program got %v", err)
	}
}

func TestAMigrationThatFailsLeavesNothing(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	files := map[string]string{
		"00001_good.sql": `CREATE TABLE good (n);`,
		"00002_bad.sql":  "CREATE TABLE bad (n);\nINSERT INTO nowhere VALUES (1);",
	}
	err := db.Migrate(t.Context(), migrations(files))
	if err == nil || !strings.Contains(err.Error(), db.Name()) || !strings.Contains(err.Error(), "nowhere") {
		t.Fatalf("got %v, want the file and the fault", err)
	}
	var tables []string
	rows, err := db.Query(`SELECT name FROM sqlite_schema WHERE name IN ('good', 'bad')`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if strings.Join(tables, " ") != "good" {
		t.Errorf("tables %v, want good alone", tables)
	}
}

func TestMigrateWithoutFilesIsAnError(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	if err := db.Migrate(t.Context(), fstest.MapFS{}); err == nil {
		t.Error("an empty file system was taken for a service's migrations")
	}
}
