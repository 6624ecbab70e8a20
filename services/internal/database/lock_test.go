package database_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/database"
)

// refused checks that path is refused as in use, by an error with each of the words in it.
func refused(t *testing.T, path string, words ...string) {
	t.Helper()
	db, err := database.Open(t.Context(), path, discard)
	if err == nil {
		_ = db.Close()
		t.Fatalf("%s was opened a second time", path)
	}
	if !errors.Is(err, database.ErrInUse) {
		t.Errorf("%v does not wrap ErrInUse", err)
	}
	for _, word := range append(words, path, "is in use by another process", "pass another file with --db") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q has no %q in it", err, word)
		}
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.db")
	first, line := startChild(t, path)
	if line != "open\n" {
		t.Fatal(line)
	}
	refused(t, path, fmt.Sprintf("(%d)", first.cmd.Process.Pid))

	_, line = startChild(t, path)
	if !strings.Contains(line, "is in use by another process") {
		t.Errorf("the second process said %q", line)
	}
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestASecondOpenInOneProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.db")
	db, err := database.Open(t.Context(), path, discard)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, path, "this one, by a service that is still running")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestAKilledProcessLeavesNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.db")
	first, line := startChild(t, path)
	if line != "open\n" {
		t.Fatal(line)
	}
	first.kill()
	db := open(t, path)
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM child`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows of the killed process's one (%v)", n, err)
	}
}

// A person who wants to begin again removes *.db. What the killed process left in the write-ahead log must not come
// back then.
func TestADatabaseThatWasRemovedIsEmpty(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "directory.db")
	first, line := startChild(t, path)
	if line != "open\n" {
		t.Fatal(line)
	}
	first.kill()
	if !hasLog(path) {
		t.Fatal("the killed process left no log: nothing is shown here")
	}
	databases, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(databases) != 1 {
		t.Fatal(databases, err)
	}
	if err := os.Remove(databases[0]); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	var tables int
	if err := db.QueryRow(`SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables in a new database (%v)", tables, err)
	}
}

func TestLockKeepsADatabaseFromBeingOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "yet", "directory.db")
	release, err := database.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the database was made: %v", err)
	}
	refused(t, path)
	for range 2 {
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	open(t, path)
	if _, err := database.Lock(path); !errors.Is(err, database.ErrInUse) {
		t.Errorf("locking an open database: %v, want ErrInUse", err)
	}
}
