package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// migrations are n files, each of which makes a table.
func migrations(n int) fstest.MapFS {
	return steps(n, "CREATE TABLE t%d (id INTEGER PRIMARY KEY);\nINSERT INTO t%[1]d VALUES (1);\n")
}

// repeatable are migrations that would run a second time without a word.
func repeatable(n int) fstest.MapFS {
	return steps(n, "CREATE TABLE IF NOT EXISTS t%d (id INTEGER);\nINSERT INTO t%[1]d VALUES (1);\n")
}

func steps(n int, step string) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 1; i <= n; i++ {
		files[fmt.Sprintf("%05d_step.sql", i)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + fmt.Sprintf(step, i))}
	}
	return files
}

func hasTable(t *testing.T, db *sql.DB, name string) bool {
	t.Helper()
	var n int
	return db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+name).Scan(&n) == nil
}

func dialect(t *testing.T, db *sql.DB) Dialect {
	t.Helper()
	d, err := Detect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMigrateGoesOnFromWhatItFinds(t *testing.T) { onBoth(t, testMigrateGoesOnFromWhatItFinds) }

func testMigrateGoesOnFromWhatItFinds(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	for _, n := range []int{1, 1, 3} {
		if err := Migrate(t.Context(), db, dialect(t, db), migrations(n), "room_version"); err != nil {
			t.Fatal(err)
		}
	}
	if !hasTable(t, db, "t3") || !hasTable(t, db, "room_version") || hasTable(t, db, "goose_db_version") {
		t.Error("wrong tables")
	}
}

func TestMigrateKeepsRoomsApart(t *testing.T) { onBoth(t, testMigrateKeepsRoomsApart) }

func testMigrateKeepsRoomsApart(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	other := fstest.MapFS{"00001_other.sql": {Data: []byte("-- +goose Up\nCREATE TABLE other (id INTEGER PRIMARY KEY);\n")}}
	err := errors.Join(Migrate(t.Context(), db, dialect(t, db), migrations(2), "a_version"), Migrate(t.Context(), db, dialect(t, db), other, "b_version"))
	if err != nil || !hasTable(t, db, "other") || !hasTable(t, db, "t2") {
		t.Fatal(err)
	}
}

func TestMigrateRefusesANewerDatabase(t *testing.T) { onBoth(t, testMigrateRefusesANewerDatabase) }

func testMigrateRefusesANewerDatabase(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	if err := Migrate(t.Context(), db, dialect(t, db), migrations(3), "room_version"); err != nil {
		t.Fatal(err)
	}
	err := Migrate(t.Context(), db, dialect(t, db), migrations(2), "room_version")
	if err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Fatalf("error %v", err)
	}
}

func TestMigrateReportsWhatIsWrong(t *testing.T) { onBoth(t, testMigrateReportsWhatIsWrong) }

func testMigrateReportsWhatIsWrong(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	files := migrations(1)
	files["00002_wrong.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE NONSENSE;\n")}
	if err := Migrate(t.Context(), db, dialect(t, db), files, "room_version"); err == nil || !strings.Contains(err.Error(), "room_version") {
		t.Errorf("a broken migration: %v", err)
	}
	if !hasTable(t, db, "t1") {
		t.Error("the migration before it was taken back")
	}
	if err := Migrate(t.Context(), db, dialect(t, db), fstest.MapFS{}, "room_version"); err == nil {
		t.Error("no migrations at all, and no error")
	}
}

func TestManyMigrateAtOnce(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "shared.db")
		migrateAtOnce(t, 6, migrations(4), func() *sql.DB { return openFile(t, file) })
	})
	t.Run("postgres", func(t *testing.T) {
		s := newSchema(t)
		migrateAtOnce(t, 20, repeatable(4), func() *sql.DB { return s.open(t) })
	})
}

// migrateAtOnce migrates one database from many pools.
func migrateAtOnce(t *testing.T, n int, files fstest.MapFS, open func() *sql.DB) {
	t.Helper()
	var wg sync.WaitGroup
	var last *sql.DB
	for range n {
		db := open()
		db.SetMaxOpenConns(2)
		last = db
		wg.Go(func() {
			if err := Migrate(t.Context(), db, dialect(t, db), files, "room_version"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, once := range []string{`SELECT count(*) FROM t4`, `SELECT count(*) FROM room_version WHERE version_id = 4`} {
		var rows int
		if err := last.QueryRowContext(t.Context(), once).Scan(&rows); err != nil || rows != 1 {
			t.Errorf("%s: %d, %v; want 1", once, rows, err)
		}
	}
}

// The one who migrates is gone in the middle: the next in line must not wait for it.
func TestMigrationLockGoesWithItsConnection(t *testing.T) {
	s := newSchema(t)
	db := s.open(t)
	if err := Migrate(t.Context(), db, Postgres, migrations(1), "room_version"); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockMigrations(t.Context(), db, "room_version")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*lockPoll)
	defer cancel()
	if err := Migrate(ctx, db, Postgres, migrations(1), "room_version"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the lock is not waited for: %v", err)
	}
	other := fstest.MapFS{"00001_other.sql": {Data: []byte("-- +goose Up\nCREATE TABLE other (id INTEGER PRIMARY KEY);\n")}}
	if err := Migrate(t.Context(), db, Postgres, other, "other_version"); err != nil {
		t.Errorf("another room waits too: %v", err)
	}
	s.kill(t)
	if err := Migrate(t.Context(), s.open(t), Postgres, migrations(1), "room_version"); err != nil {
		t.Errorf("the lock outlived its connection: %v", err)
	}
}
