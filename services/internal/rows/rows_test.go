package rows_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/services/internal/rows"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin begins a transaction on a database with one table, which the test's end rolls back.
func begin(t *testing.T) *sql.Tx {
	t.Helper()
	db := servicetest.Database(t, "rows", fstest.MapFS{"migrations/sqlite/00001_pairs.sql": {
		Data: []byte("-- +goose Up\nCREATE TABLE pairs (k INTEGER PRIMARY KEY, v TEXT NOT NULL);\n"),
	}})
	tx, err := db.BeginTx(context.Background(), nil) // the test's own ends before the Cleanup
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	})
	return tx
}

func TestEveryRowIsWrittenOnceAndReadAgainWhateverTheirNumber(t *testing.T) {
	insert := rows.New(2, `INSERT INTO pairs (k, v) VALUES `, ` ON CONFLICT DO NOTHING`)
	get := rows.New(1, `SELECT k FROM pairs WHERE v = 'x' AND k IN (`, `)`)
	for _, n := range []int{0, 1, 19, 20, 21, 199, 200, 221, 645} {
		tx := begin(t)
		var pairs, keys []any
		for k := range n {
			pairs, keys = append(pairs, k, "x"), append(keys, k)
		}
		changed, err := insert.Exec(t.Context(), tx, pairs)
		if err != nil || changed != int64(n) {
			t.Errorf("%d rows: %d were changed (%v)", n, changed, err)
		}
		if changed, err = insert.Exec(t.Context(), tx, append(pairs, n, "x")); err != nil || changed != 1 {
			t.Errorf("one more than %d rows: %d were changed (%v)", n, changed, err)
		}
		var found []int
		err = get.Query(t.Context(), tx, keys, func(row *sql.Rows) error {
			found = append(found, 0)
			return row.Scan(&found[len(found)-1])
		})
		slices.Sort(found)
		if err != nil || len(found) != n || n > 0 && (found[0] != 0 || len(slices.Compact(found)) != n || found[n-1] != n-1) {
			t.Errorf("%d rows are read as %v (%v)", n, found, err)
		}
	}
}

// texts notes what is executed.
type texts []string

func (x *texts) ExecContext(_ context.Context, query string, _ ...any) (sql.Result, error) {
	*x = append(*x, query)
	return nil, errTold
}

var errTold = errors.New("told")

func TestTheTextHasAGroupForEachRow(t *testing.T) {
	for _, tt := range []struct {
		cols int
		want string
	}{{1, "a $1 z"}, {2, "a ($1,$2) z"}, {3, "a ($1,$2,$3) z"}} {
		var x texts
		s := rows.New(tt.cols, "a ", " z")
		if _, err := s.Exec(t.Context(), &x, make([]any, tt.cols)); !errors.Is(err, errTold) {
			t.Errorf("%d columns: error %v", tt.cols, err)
		}
		if _, err := s.Exec(t.Context(), &x, make([]any, 20*tt.cols)); !errors.Is(err, errTold) {
			t.Errorf("%d columns: error %v", tt.cols, err)
		}
		if len(x) != 2 || x[0] != tt.want || s.Cols() != tt.cols {
			t.Fatalf("%d columns: %q, want %q and one more", tt.cols, x, tt.want)
		}
		if groups := strings.Count(x[1], "("); strings.Count(x[1], "$") != 20*tt.cols || tt.cols > 1 && groups != 20 {
			t.Errorf("20 rows of %d columns are %q", tt.cols, x[1])
		}
	}
}

func TestAnErrorEndsTheStatement(t *testing.T) {
	tx := begin(t)
	insert := rows.New(2, `INSERT INTO pairs (k, v) VALUES `, ``)
	if _, err := insert.Exec(t.Context(), tx, []any{1, "x", 1, "x"}); err == nil {
		t.Error("the same key twice is no error")
	}
	get := rows.New(1, `SELECT k FROM pairs WHERE k IN (`, `)`)
	calls := 0
	err := get.Query(t.Context(), tx, []any{1, 1, 1}, func(*sql.Rows) error {
		calls++
		return errTold
	})
	if !errors.Is(err, errTold) || calls != 1 {
		t.Errorf("%d calls, error %v; want one, and its error", calls, err)
	}
	broken := rows.New(1, `SELECT nothing FROM pairs WHERE k IN (`, `)`)
	if err := broken.Query(t.Context(), tx, []any{1}, nil); err == nil {
		t.Error("a column that isn't there is no error")
	}
}
