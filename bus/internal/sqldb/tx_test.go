package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// inTx runs fn in a transaction that is expected to commit.
func inTx(t *testing.T, w *Writer, fn func(ctx context.Context, tx Tx)) {
	t.Helper()
	err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error { fn(ctx, tx); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func seed(t *testing.T, w *Writer, all ...string) {
	t.Helper()
	for _, n := range all {
		if err := w.InTx(t.Context(), insert(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRowsOfTheSameTextDontDisturbEachOther(t *testing.T) {
	w := newWriter(t, openDB(t))
	defer w.Hold()()
	seed(t, w, "a", "b", "c")
	const one, all = `SELECT name FROM item WHERE id = $1`, `SELECT name FROM item ORDER BY id`
	for range 2 { // the second time everything is prepared
		inTx(t, w, func(ctx context.Context, tx Tx) {
			first, second := tx.QueryRowContext(ctx, one, 1), tx.QueryRowContext(ctx, one, 2)
			var x, y string
			if err := errors.Join(first.Scan(&x), second.Scan(&y)); err != nil || x != "a" || y != "b" {
				t.Errorf("two rows: %q, %q, %v", x, y, err)
			}
			if n := pairs(t, ctx, tx, all); n != 9 {
				t.Errorf("%d pairs from a query inside itself, want 9", n)
			}
		})
	}
}

// pairs runs a query for each row of itself.
func pairs(t *testing.T, ctx context.Context, tx Tx, query string) (n int) {
	t.Helper()
	outer, err := tx.QueryContext(ctx, query)
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	for outer.Next() {
		inner, err := tx.QueryContext(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		for inner.Next() {
			n++
		}
		inner.Close()
	}
	return n
}

func TestStatementIsQueriedAgainOnceItsRowsAreClosed(t *testing.T) {
	w := newWriter(t, openDB(t))
	seed(t, w, "a", "b")
	const query = `SELECT name FROM item ORDER BY id`
	inTx(t, w, func(ctx context.Context, tx Tx) {
		rows, err := tx.QueryContext(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := tx.(*connTx).reader(ctx, query); s != nil || err != nil {
			t.Error("it is given out while its rows are open")
		}
		for rows.Next() {
		}
		if s, err := tx.(*connTx).reader(ctx, query); s == nil || err != nil {
			t.Error("it is prepared again though its rows are closed")
		}
	})
}

func TestWhatWasLeftOpenEndsWithTheTransaction(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	seed(t, w, "a", "b", "c")
	var rows *sql.Rows
	var stmt *sql.Stmt
	inTx(t, w, func(ctx context.Context, tx Tx) {
		rows, _ = tx.QueryContext(ctx, `SELECT name FROM item`)
		rows.Next()
		stmt, _ = tx.PrepareContext(ctx, `SELECT 1`)
		tx.QueryRowContext(ctx, `SELECT name FROM item WHERE id > $1`, 0) // nobody scans it
		tx.QueryRowContext(ctx, `INSERT INTO item (name) VALUES ('d') RETURNING id`)
	})
	if rows.Next() {
		t.Error("the rows are still open")
	}
	if _, err := stmt.Exec(); err == nil {
		t.Error("the statement is still open")
	}
	if db.Stats().InUse != 0 {
		t.Error("the connection was not given back")
	}
	if got := names(t, db); len(got) != 4 {
		t.Errorf("stored %q", got)
	}
}

func TestTxIsNotUsedAfterItsEnd(t *testing.T) { onBoth(t, testTxIsNotUsedAfterItsEnd) }

func testTxIsNotUsedAfterItsEnd(t *testing.T, openDB func(testing.TB) *sql.DB) {
	w := newWriter(t, openDB(t))
	var kept Tx
	inTx(t, w, func(ctx context.Context, tx Tx) { kept = tx })
	_, execErr := kept.ExecContext(t.Context(), `DELETE FROM item`)
	_, queryErr := kept.QueryContext(t.Context(), `SELECT 1`)
	_, prepareErr := kept.PrepareContext(t.Context(), `SELECT 1`)
	var n int
	for _, err := range []error{execErr, queryErr, prepareErr, kept.QueryRowContext(t.Context(), `SELECT 1`).Scan(&n)} {
		if !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("error %v, want sql.ErrTxDone", err)
		}
	}
}

func TestStatementContextIsLookedAt(t *testing.T) { onBoth(t, testStatementContextIsLookedAt) }

func testStatementContextIsLookedAt(t *testing.T, openDB func(testing.TB) *sql.DB) {
	w := newWriter(t, openDB(t))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	inTx(t, w, func(ctx context.Context, tx Tx) {
		if err := insert("x")(ended, tx); !errors.Is(err, context.Canceled) {
			t.Errorf("exec: %v", err)
		}
		var n int
		if err := tx.QueryRowContext(ended, `SELECT 1`).Scan(&n); !errors.Is(err, context.Canceled) {
			t.Errorf("query row: %v", err)
		}
		if err := insert("y")(ctx, tx); err != nil {
			t.Errorf("the transaction is gone: %v", err)
		}
	})
}

func TestSeveralStatementsInOneText(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	defer w.Hold()()
	for range 2 {
		inTx(t, w, func(ctx context.Context, tx Tx) {
			const two = `INSERT INTO item (name) VALUES ('a' || $1); INSERT INTO item (name) VALUES ('b' || $1)`
			n := len(names(t, db))
			if _, err := tx.ExecContext(ctx, two, n, n); err != nil {
				t.Error(err)
			}
		})
	}
	if got := names(t, db); len(got) != 4 {
		t.Errorf("stored %q", got)
	}
}

func TestExecOfAStatementWithRowsLeavesNothingOpen(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	defer w.Hold()()
	for i := range 3 {
		inTx(t, w, func(ctx context.Context, tx Tx) {
			for _, q := range []string{`INSERT INTO item (name) VALUES ('x' || $1) returning id`, `SELECT name FROM item WHERE id > $1`} {
				if _, err := tx.ExecContext(ctx, q, i); err != nil {
					t.Error(err)
				}
			}
		})
		mustExec(t, db, `INSERT INTO item (name) VALUES ($1)`, fmt.Sprint("other ", i)) // needs the lock
	}
	if got := names(t, db); len(got) != 6 {
		t.Errorf("stored %q", got)
	}
}

func TestStatementsAreKeptWithinBounds(t *testing.T) {
	w := newWriter(t, openDB(t))
	defer w.Hold()()
	kept := func() int { return len(w.conn.held().statements) }
	inTx(t, w, func(ctx context.Context, tx Tx) {
		for i := range 2 * maxStatements {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf(`INSERT INTO item (name) VALUES ('%d')`, i)); err != nil {
				t.Fatal(err)
			}
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM item`).Scan(&n); err != nil || n != 2*maxStatements {
			t.Errorf("%d rows, %v", n, err)
		}
	})
	if n := kept(); n != maxStatements {
		t.Errorf("%d statements are kept, want %d", n, maxStatements)
	}
	seed(t, w, "one more")
	if n := kept(); n > 10 {
		t.Errorf("%d statements after the trim", n)
	}
	seed(t, w, "the same text", "again", "and again")
	if n := kept(); n > 10 {
		t.Errorf("%d statements: the same text was prepared again", n)
	}
}

func TestErrorsOfStatementsKeepTheTransaction(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	seed(t, w, "a")
	inTx(t, w, func(ctx context.Context, tx Tx) {
		if _, err := tx.ExecContext(ctx, `NONSENSE`); err == nil {
			t.Error("nonsense was executed")
		}
		if _, err := tx.QueryContext(ctx, `SELECT nothing FROM nowhere`); err == nil {
			t.Error("nonsense was queried")
		}
		if _, err := tx.PrepareContext(ctx, `SELECT nothing FROM nowhere`); err == nil {
			t.Error("nonsense was prepared")
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT nothing FROM nowhere`).Scan(&n); err == nil {
			t.Error("nonsense was queried")
		}
		if err := tx.QueryRowContext(ctx, `SELECT id FROM item WHERE id > 5`).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no row: %v", err)
		}
		if err := insert("a")(ctx, tx); err == nil {
			t.Error("a conflict was not noticed")
		}
		if err := insert("b")(ctx, tx); err != nil {
			t.Error(err)
		}
	})
	if got := names(t, db); len(got) != 2 {
		t.Errorf("stored %q", got)
	}
}

// What a database that is full does at a row, or in a prepared statement, is seen by the one who looks. Whoever passes
// over it must not store anything outside the transaction that is no more.
func TestSwallowedErrorLosesTheTransaction(t *testing.T) {
	const big = `INSERT INTO item (name) VALUES ($1)` // with RETURNING SQLite takes the statement back alone
	for name, swallow := range map[string]func(ctx context.Context, tx Tx, huge string) error{
		"row": func(ctx context.Context, tx Tx, huge string) error {
			var id int
			return tx.QueryRowContext(ctx, big, huge).Scan(&id)
		},
		"row that nobody scans": func(ctx context.Context, tx Tx, huge string) error {
			tx.QueryRowContext(ctx, big, huge)
			return errUnseen
		},
		"rows": func(ctx context.Context, tx Tx, huge string) error {
			rows, err := tx.QueryContext(ctx, big, huge)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
			}
			return rows.Err()
		},
		"prepared statement": func(ctx context.Context, tx Tx, huge string) error {
			s, err := tx.PrepareContext(ctx, `INSERT INTO item (name) VALUES ($1)`)
			if err == nil {
				_, err = s.ExecContext(ctx, huge)
			}
			if _, after := s.ExecContext(ctx, "on its own"); !errors.Is(after, ErrNotCommitted) {
				t.Errorf("the statement again: %v", after)
			}
			if _, after := s.QueryContext(ctx, "on its own"); !errors.Is(after, ErrNotCommitted) {
				t.Errorf("the statement again: %v", after)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t)
			w := newWriter(t, db)
			defer w.Hold()()
			setPages(t, w, "PRAGMA max_page_count = 6")
			for _, do := range []func(context.Context, func(context.Context, Tx) error) error{w.InTx, w.InOwnTx} {
				err := do(t.Context(), func(ctx context.Context, tx Tx) error {
					if err := insert("before")(ctx, tx); err != nil {
						return err
					}
					if err := swallow(ctx, tx, strings.Repeat("x", 100_000)); err == nil {
						t.Error("the disk is not full")
					}
					if err := insert("on its own")(ctx, tx); !errors.Is(err, ErrNotCommitted) {
						t.Errorf("a statement after the end: %v", err)
					}
					if _, err := tx.QueryContext(ctx, `SELECT 1`); !errors.Is(err, ErrNotCommitted) || Fault(tx) == nil {
						t.Errorf("a query after the end: %v", err)
					}
					return nil
				})
				if !errors.Is(err, ErrNotCommitted) || !IsStoreFault(err) {
					t.Errorf("error %v", err)
				}
			}
			if got := names(t, db); len(got) > 0 {
				t.Errorf("stored %q", got)
			}
		})
	}
}

// The driver tells of most ends at the statement. Where it tells at a later row (a broken disk), nobody hears it but
// the one who reads: here the transaction ends behind an open query.
func TestEndOfTheTransactionIsNoticedAfterARow(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	seed(t, w, "a", "b")
	err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT name FROM item`)
		if err != nil {
			return err
		}
		rows.Next()
		if err := tx.(*connTx).c.exec("ROLLBACK"); err != nil {
			t.Error(err)
		}
		for rows.Next() {
		}
		if err := insert("on its own")(ctx, tx); !errors.Is(err, ErrNotCommitted) {
			t.Errorf("a statement after the end: %v", err)
		}
		return nil
	})
	if got := names(t, db); !errors.Is(err, ErrNotCommitted) || len(got) != 2 {
		t.Errorf("error %v, stored %q", err, got)
	}
}

func TestPreparedStatementGivesWhatTheConnectionGives(t *testing.T) {
	onBoth(t, func(t *testing.T, openDB func(testing.TB) *sql.DB) {
		db := openDB(t)
		w := newWriter(t, db)
		inTx(t, w, func(ctx context.Context, tx Tx) {
			s, err := tx.PrepareContext(ctx, `INSERT INTO item (name) VALUES ($1) RETURNING id, name, NULL`)
			if err != nil {
				t.Fatal(err)
			}
			for i, name := range []string{"a", "b"} {
				var id int
				var got string
				var null sql.NullInt64
				if err := s.QueryRowContext(ctx, name).Scan(&id, &got, &null); err != nil || id != i+1 || got != name || null.Valid {
					t.Errorf("%d, %q, %v, %v", id, got, null, err)
				}
			}
			if s, err = tx.PrepareContext(ctx, `UPDATE item SET name = name || $1`); err != nil {
				t.Fatal(err)
			}
			r, err := s.ExecContext(ctx, "x")
			if err != nil {
				t.Fatal(err)
			}
			if n, err := r.RowsAffected(); n != 2 || err != nil {
				t.Errorf("%d rows, %v", n, err)
			}
		})
		if got := names(t, db); len(got) != 2 || got[0] != "ax" {
			t.Errorf("stored %q", got)
		}
	})
}
