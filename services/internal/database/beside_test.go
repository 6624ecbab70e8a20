package database_test

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func beside(t *testing.T, dsn string) *database.DB {
	t.Helper()
	db, err := database.OpenBeside(t.Context(), dsn, database.ForService("directory"))
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

// A service of another process has the file locked, and goes on having it so.
func TestAToolMayWriteBesideTheServiceThatHasTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	service := open(t, path)
	if _, err := service.Exec(`CREATE TABLE t (n)`); err != nil {
		t.Fatal(err)
	}
	db := beside(t, path)
	for _, one := range []*database.DB{db, service, db} {
		if _, err := one.Exec(`INSERT INTO t VALUES (1)`); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := service.QueryRow(`SELECT count(*) FROM t`).Scan(&n); err != nil || n != 3 {
		t.Fatalf("%d rows, %v", n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := database.Open(t.Context(), path, discard); !errors.Is(err, database.ErrInUse) {
		t.Fatalf("a second service: %v, want the file to be in use", err)
	}
}

func TestBesideNothingIsMade(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "folder", "x.db")
	_, err := database.OpenBeside(t.Context(), missing)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--db") || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database at all ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := database.OpenBeside(t.Context(), text); err == nil {
		t.Error("a text was opened")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("the folder has %v, %v", files, err)
	}
	if _, err := database.OpenBeside(t.Context(), ":memory:"); err == nil {
		t.Error("memory was opened")
	}
}

// A file that is no service's stays as it is, down to its journal.
func TestBesideNothingIsChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path)
	var mode string
	if err := db.QueryRow(`PRAGMA journal_mode=DELETE`).Scan(&mode); err != nil || mode != "delete" {
		t.Fatal(mode, err)
	}
	if _, err := db.Exec(`CREATE TABLE t (n)`); err != nil {
		t.Fatal(err)
	}
	if err := beside(t, path).QueryRow(`PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "delete" {
		t.Fatal(mode, err)
	}
}

func TestBesideOnPostgresTheSchemaHasToBeThere(t *testing.T) {
	servicetest.NeedsPostgres(t)
	s := servicetest.NewSchema(t, "directory")
	none := change(t, s.DSN, func(_ *url.URL, q url.Values) { q.Set("schema", "tidings_nobody_made_this") })
	for range 2 { // the first try makes nothing for the second
		_, err := database.OpenBeside(t.Context(), none)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--db") {
			t.Errorf("got %v", err)
		}
	}
	service := openFor(t, s.DSN, "directory")
	mustExec(t, service.DB, `CREATE TABLE t (n BIGINT)`)
	mustExec(t, beside(t, s.DSN).DB, `INSERT INTO t VALUES (1)`)
}
