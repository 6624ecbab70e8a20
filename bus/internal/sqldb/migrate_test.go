package sqldb

import (
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
	files := fstest.MapFS{}
	for i := 1; i <= n; i++ {
		files[fmt.Sprintf("%05d_step.sql", i)] = &fstest.MapFile{
			Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE t%d (id INTEGER PRIMARY KEY);\nINSERT INTO t%d VALUES (1);\n", i, i),
		}
	}
	return files
}

func hasTable(t *testing.T, db *sql.DB, name string) bool {
	t.Helper()
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_master WHERE name = $1`, name).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n == 1
}

func TestMigrateGoesOnFromWhatItFinds(t *testing.T) {
	db := openDB(t)
	for _, n := range []int{1, 1, 3} {
		if err := Migrate(t.Context(), db, SQLite, migrations(n), "room_version"); err != nil {
			t.Fatal(err)
		}
	}
	if !hasTable(t, db, "t3") || !hasTable(t, db, "room_version") || hasTable(t, db, "goose_db_version") {
		t.Error("wrong tables")
	}
}

func TestMigrateKeepsRoomsApart(t *testing.T) {
	db := openDB(t)
	other := fstest.MapFS{"00001_other.sql": {Data: []byte("-- +goose Up\nCREATE TABLE other (id INTEGER PRIMARY KEY);\n")}}
	err := errors.Join(Migrate(t.Context(), db, SQLite, migrations(2), "a_version"), Migrate(t.Context(), db, SQLite, other, "b_version"))
	if err != nil || !hasTable(t, db, "other") || !hasTable(t, db, "t2") {
		t.Fatal(err)
	}
}

func TestMigrateRefusesANewerDatabase(t *testing.T) {
	db := openDB(t)
	if err := Migrate(t.Context(), db, SQLite, migrations(3), "room_version"); err != nil {
		t.Fatal(err)
	}
	err := Migrate(t.Context(), db, SQLite, migrations(2), "room_version")
	if err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Fatalf("error %v", err)
	}
}

func TestMigrateReportsWhatIsWrong(t *testing.T) {
	db := openDB(t)
	files := migrations(1)
	files["00002_wrong.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE NONSENSE;\n")}
	if err := Migrate(t.Context(), db, SQLite, files, "room_version"); err == nil || !strings.Contains(err.Error(), "room_version") {
		t.Errorf("a broken migration: %v", err)
	}
	if !hasTable(t, db, "t1") {
		t.Error("the migration before it was taken back")
	}
	if err := Migrate(t.Context(), db, SQLite, fstest.MapFS{}, "room_version"); err == nil {
		t.Error("no migrations at all, and no error")
	}
}

func TestManyMigrateAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shared.db")
	var wg sync.WaitGroup
	for range 6 {
		db := openFile(t, file)
		wg.Go(func() {
			if err := Migrate(t.Context(), db, SQLite, migrations(4), "room_version"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
