package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
)

// stateError is an error as a driver of Postgres makes them.
type stateError string

func (s stateError) SQLState() string { return string(s) }
func (s stateError) Error() string    { return "SQLSTATE " + string(s) }

func TestStoreFaultsAreToldFromOthers(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"none":                      {nil, false},
		"another":                   {errors.New("no such user"), false},
		"a handler's own network":   {io.ErrUnexpectedEOF, false},
		"a context's end":           {context.Canceled, false},
		"not committed":             {fmt.Errorf("x: %w", ErrNotCommitted), true},
		"in doubt":                  {fmt.Errorf("x: %w", ErrInDoubt), true},
		"rejected":                  {rejected(stateError("23503")), false},
		"broken connection":         {driver.ErrBadConn, true},
		"transaction over":          {sql.ErrTxDone, true},
		"deadlock":                  {stateError("40P01"), true},
		"serialization":             {stateError("40001"), true},
		"a constraint":              {stateError("40002"), false},
		"too many connections":      {stateError("53300"), true},
		"admin shutdown":            {stateError("57P01"), true},
		"starting up":               {stateError("57P03"), true},
		"read-only":                 {stateError("25006"), true},
		"lock not available":        {stateError("55P03"), true},
		"unique":                    {stateError("23505"), false},
		"syntax":                    {stateError("42601"), false},
		"raised by a trigger":       {stateError("P0001"), false},
		"after another error":       {stateError(inFailedTx), false},
		"wrapped":                   {fmt.Errorf("x: %w", fmt.Errorf("y: %w", stateError("40P01"))), true},
		"behind another":            {errors.Join(errors.New("x"), stateError("23505"), stateError("40P01")), true},
		"unique, then not undone":   {fmt.Errorf("%w: %w", ErrNotCommitted, stateError("23505")), true},
		"an Error that isn't mattn": {struct{ error }{errors.New("x")}, false},
	} {
		if got := IsStoreFault(c.err); got != c.want {
			t.Errorf("%s: IsStoreFault(%v) = %v", name, c.err, got)
		}
	}
}

// The codes of mattn/go-sqlite3 are read by reflection: here from its own errors.
func TestStoreFaultsOfSQLiteAreKnownByTheirCode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	db := openFile(t, file)
	mustExec(t, db, `CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)`)
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fails := func(prepare, query string) error {
		t.Helper()
		if _, err := c.ExecContext(t.Context(), prepare); err != nil {
			t.Fatal(err)
		}
		_, err := c.ExecContext(t.Context(), query)
		if err == nil {
			t.Fatalf("%s did not fail", query)
		}
		return fmt.Errorf("wrapped: %w", err)
	}
	const insertX = `INSERT INTO item (name) VALUES ('x')`
	if err := fails(insertX, insertX); IsStoreFault(err) {
		t.Errorf("a conflict: %v", err)
	}
	if err := fails(`SELECT 1`, `SELECT nothing FROM nowhere`); IsStoreFault(err) {
		t.Errorf("nonsense: %v", err)
	}
	if err := fails(`PRAGMA query_only = 1`, insertX); !IsStoreFault(err) {
		t.Errorf("read-only: %v", err)
	}
	if err := fails(`PRAGMA query_only = 0; PRAGMA max_page_count = 1`, `INSERT INTO item (name) VALUES (hex(zeroblob(100000)))`); !IsStoreFault(err) {
		t.Errorf("full: %v", err)
	}
	other, err := openFile(t, file).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback()
	if err := fails(`PRAGMA busy_timeout = 1`, insertX); !IsStoreFault(err) {
		t.Errorf("locked: %v", err)
	}
}

func TestFaultIsNilWhereNothingIsKnown(t *testing.T) {
	if err := Fault(&sql.Tx{}); err != nil {
		t.Error(err)
	}
}
