package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// openDB makes a database in a file of its own, with one table.
func openDB(t testing.TB) *sql.DB {
	t.Helper()
	db := openFile(t, filepath.Join(t.TempDir(), "test.db"))
	mustExec(t, db, `CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)`)
	return db
}

func openFile(t testing.TB, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+file+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_busy_timeout=10000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newWriter(t testing.TB, db *sql.DB) *Writer {
	t.Helper()
	w, err := Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustExec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// names are what is stored, in order of id.
func names(t testing.TB, db *sql.DB) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT name FROM item ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// insert is a transaction that stores a name.
func insert(name string) func(context.Context, Tx) error {
	return func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO item (name) VALUES ($1)`, name)
		return err
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: " + what)
		}
	}
}

func TestValuesNumbersTheParametersOfEachRow(t *testing.T) {
	for _, c := range []struct {
		rows, cols int
		want       string
	}{
		{1, 1, "($1)"}, {2, 2, "($1,$2),($3,$4)"}, {3, 1, "($1),($2),($3)"}, {0, 3, ""}, {3, 0, ""},
	} {
		if got := Values(c.rows, c.cols); got != c.want {
			t.Errorf("Values(%d, %d) = %q, want %q", c.rows, c.cols, got, c.want)
		}
	}
}

func TestDetectAsksTheDatabase(t *testing.T) {
	for name, c := range map[string]struct {
		open      func(testing.TB) *sql.DB
		want      Dialect
		folder    string
		forUpdate string
	}{
		"sqlite":   {openDB, SQLite, "migrations/sqlite", ""},
		"postgres": {openPostgres, Postgres, "migrations/postgres", " FOR UPDATE"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Detect(t.Context(), c.open(t))
			if err != nil || d != c.want || d.Folder() != c.folder || d.ForUpdate() != c.forUpdate {
				t.Errorf("Detect = %q, %v; %q, %q", d, err, d.Folder(), d.ForUpdate())
			}
		})
	}
}

func TestDetectReportsADatabaseThatCantBeRead(t *testing.T) {
	for _, want := range []error{errors.New("no such server"), stateError("57P03")} {
		other := sql.OpenDB(noDriver{want})
		defer other.Close()
		_, err := Detect(t.Context(), other)
		if !errors.Is(err, want) || IsStoreFault(err) != IsStoreFault(want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
}

func TestFailedRowHoldsTheError(t *testing.T) {
	want := errors.New("why")
	var n int
	if err := failedRow(want).Scan(&n); !errors.Is(err, want) {
		t.Fatalf("Scan: %v", err)
	}
}
