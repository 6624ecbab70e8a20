package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// idle checks that nobody keeps a connection.
func idle(t *testing.T, db *sql.DB) {
	t.Helper()
	if n := db.Stats().InUse; n != 0 {
		t.Errorf("%d connections were not given back", n)
	}
}

// works checks that the writer is whole, and that only what is told was stored.
func works(t *testing.T, w *Writer, db *sql.DB, stored ...string) {
	t.Helper()
	if err := w.InTx(t.Context(), insert("after")); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
	if got := names(t, db); !slices.Equal(got, append(stored, "after")) {
		t.Errorf("stored %q, want %q and the one after", got, stored)
	}
	idle(t, db)
}

func TestPostgresTransactionsRunBesideOneAnother(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	w.Hold()()
	var meet, all sync.WaitGroup
	const n = 5
	meet.Add(n)
	for i := range n {
		all.Go(func() {
			err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
				err := insert(string(rune('a'+i)))(ctx, tx)
				meet.Done()
				meet.Wait() // all are inside
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := names(t, db); len(got) != n {
		t.Errorf("stored %q", got)
	}
	idle(t, db)
}

func TestPostgresForUpdateMakesOthersWait(t *testing.T) {
	s := newSchema(t)
	db := s.openItems(t)
	w := newWriter(t, db)
	mustExec(t, db, `INSERT INTO item (id, name) VALUES (1, '')`)
	add := func(inside func()) error {
		return w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
			var name string
			if err := tx.QueryRowContext(ctx, `SELECT name FROM item WHERE id = $1`+w.Dialect().ForUpdate(), 1).Scan(&name); err != nil {
				return err
			}
			inside()
			_, err := tx.ExecContext(ctx, `UPDATE item SET name = $1 WHERE id = 1`, name+"x")
			return err
		})
	}
	second := make(chan error, 1)
	err := add(func() {
		go func() { second <- add(func() {}) }()
		eventually(t, "the second to wait for the row", func() bool { return s.waiting(t) == 1 })
	})
	if err := errors.Join(err, <-second); err != nil {
		t.Fatal(err)
	}
	if got := names(t, db); got[0] != "xx" {
		t.Errorf("%q: an update was lost", got)
	}
}

func TestPostgresDeadlockIsAStoreFault(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	seed(t, w, "a", "b")
	hidden := errors.New("the handler's own words")
	var meet sync.WaitGroup
	meet.Add(2)
	update := func(first, second int) error {
		return w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
			if _, err := tx.ExecContext(ctx, `UPDATE item SET name = name || 'x' WHERE id = $1`, first); err != nil {
				return err
			}
			meet.Done()
			meet.Wait()
			if _, err := tx.ExecContext(ctx, `UPDATE item SET name = name || 'x' WHERE id = $1`, second); err != nil {
				if !IsStoreFault(err) || Fault(tx) == nil {
					t.Errorf("the statement's error is none of the store: %v", err)
				}
				return hidden
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- update(1, 2) }()
	one, other := update(2, 1), <-done
	if one == nil {
		one, other = other, one
	}
	if other != nil || !IsStoreFault(one) || !errors.Is(one, ErrNotCommitted) || !errors.Is(one, hidden) || sqlState(one) != "40P01" {
		t.Errorf("%v; %v", one, other)
	}
	works(t, w, db, "ax", "bx")
}

func TestPostgresSerializationFailureIsAStoreFault(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	var meet sync.WaitGroup
	meet.Add(2)
	skew := func(name string) error {
		return w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
			if _, err := tx.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`); err != nil {
				return err
			}
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM item`).Scan(&n); err != nil {
				return err
			}
			meet.Done()
			meet.Wait()
			return insert(name)(ctx, tx)
		})
	}
	done := make(chan error, 1)
	go func() { done <- skew("after") }()
	one, other := skew("after2"), <-done
	if one == nil {
		one, other = other, one
	}
	if other != nil || !IsStoreFault(one) || sqlState(one) != "40001" {
		t.Errorf("%v; %v", one, other)
	}
	if got := names(t, db); len(got) != 1 {
		t.Errorf("stored %q", got)
	}
	idle(t, db)
}

func TestPostgresConnectionKilledInTheMiddleIsNotCommitted(t *testing.T) {
	own := errors.New("the handler's own words")
	for name, after := range map[string]func(ctx context.Context, tx Tx) error{
		"its error is returned":    func(ctx context.Context, tx Tx) error { return insert("x")(ctx, tx) },
		"its error is passed over": func(ctx context.Context, tx Tx) error { _ = insert("x")(ctx, tx); return nil },
		"its error is hidden":      func(ctx context.Context, tx Tx) error { _ = insert("x")(ctx, tx); return own },
		"nobody has noticed":       func(ctx context.Context, tx Tx) error { return nil },
		"fn fails for itself":      func(ctx context.Context, tx Tx) error { return own },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSchema(t)
			db := s.openItems(t)
			w := newWriter(t, db)
			err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
				if err := insert("before")(ctx, tx); err != nil {
					t.Error(err)
				}
				s.kill(t)
				return after(ctx, tx)
			})
			// COMMIT was sent where nobody had noticed, and the one who sent it can't know that nobody was there.
			if unnoticed := name == "nobody has noticed"; errors.Is(err, ErrNotCommitted) == unnoticed || errors.Is(err, ErrInDoubt) != unnoticed || !IsStoreFault(err) {
				t.Errorf("error %v", err)
			}
			works(t, w, db)
		})
	}
}

// After a restart of the server every idle connection is broken.
func TestPostgresBrokenIdleConnectionsCostNobodyATransaction(t *testing.T) {
	s := newSchema(t)
	db := s.openItems(t)
	w := newWriter(t, db)
	works(t, w, db)
	s.kill(t)
	if err := w.InTx(t.Context(), insert("again")); err != nil {
		t.Error(err)
	}
}

func TestPostgresCommitThatIsCutOffIsInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		mode   int32
		stored []string
	}{
		"before the server got it":      {cutBefore, nil},
		"after the server has answered": {cutAfter, []string{"doubtful"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := throughProxy(t)
			db := s.openItems(t)
			w := newWriter(t, db)
			p.mode.Store(c.mode)
			err := w.InTx(t.Context(), insert("doubtful"))
			if !errors.Is(err, ErrInDoubt) || errors.Is(err, ErrNotCommitted) || !IsStoreFault(err) {
				t.Errorf("error %v", err)
			}
			p.mode.Store(pass)
			works(t, w, db, c.stored...)
		})
	}
}

// What the documentation tells the one in doubt: the same again, under a condition, decides.
func TestPostgresSameTransactionAgainSettlesTheDoubt(t *testing.T) {
	for _, mode := range []int32{cutBefore, cutAfter} {
		s, p := throughProxy(t)
		db := s.openItems(t)
		w := newWriter(t, db)
		taken := false
		create := func(ctx context.Context, tx Tx) error {
			r, err := tx.ExecContext(ctx, `INSERT INTO item (id, name) VALUES (1, 'mine') ON CONFLICT (id) DO NOTHING`)
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			taken = n == 0
			return err
		}
		p.mode.Store(mode)
		if err := w.InTx(t.Context(), create); !errors.Is(err, ErrInDoubt) {
			t.Fatal(err)
		}
		p.mode.Store(pass)
		if err := w.InTx(t.Context(), create); err != nil || taken != (mode == cutAfter) {
			t.Errorf("mode %d: it was there: %v, %v", mode, taken, err)
		}
		if got := names(t, db); !slices.Equal(got, []string{"mine"}) {
			t.Errorf("mode %d: stored %q", mode, got)
		}
	}
}

func TestPostgresErrorThatIsPassedOverIsRejected(t *testing.T) {
	for name, fn := range map[string]func(ctx context.Context, tx Tx) error{
		"at the statement": func(ctx context.Context, tx Tx) error {
			_ = insert("before")(ctx, tx)
			_, err := tx.ExecContext(ctx, `SELECT 1`)
			return err
		},
		"at a later row": func(ctx context.Context, tx Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT 1 / (2 - n) FROM generate_series(1, 2) AS n`)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return nil
		},
		"in a prepared statement": func(ctx context.Context, tx Tx) error {
			s, err := tx.PrepareContext(ctx, `INSERT INTO item (name) VALUES ($1)`)
			if err == nil {
				_, _ = s.ExecContext(ctx, "before")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openPostgres(t)
			w := newWriter(t, db)
			seed(t, w, "before")
			err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
				_ = insert("lost")(ctx, tx)
				if err := fn(ctx, tx); err != nil && sqlState(err) != inFailedTx {
					t.Error(err)
				}
				return nil
			})
			if !errors.Is(err, ErrNotCommitted) || !errors.Is(err, ErrRejected) || IsStoreFault(err) {
				t.Errorf("error %v", err)
			}
			if name == "at the statement" && sqlState(err) != "23505" {
				t.Errorf("%v does not say what was passed over", err)
			}
			works(t, w, db, "before")
		})
	}
}

func TestPostgresStoreFaultThatIsPassedOverStaysOne(t *testing.T) {
	s := newSchema(t)
	db := s.openItems(t)
	w := newWriter(t, db)
	err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		_, _ = tx.ExecContext(ctx, `DO $$ BEGIN RAISE 'no' USING ERRCODE = 'deadlock_detected'; END $$`)
		return nil
	})
	if !errors.Is(err, ErrNotCommitted) || errors.Is(err, ErrRejected) || !IsStoreFault(err) {
		t.Errorf("error %v", err)
	}
	works(t, w, db)
}

func TestPostgresDeferredConstraintIsRejected(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	mustExec(t, db, `ALTER TABLE item ADD CONSTRAINT later UNIQUE (name) DEFERRABLE INITIALLY DEFERRED, DROP CONSTRAINT item_name_key`)
	seed(t, w, "a")
	err := w.InTx(t.Context(), insert("a"))
	if !errors.Is(err, ErrNotCommitted) || !errors.Is(err, ErrRejected) || IsStoreFault(err) || sqlState(err) != "23505" {
		t.Errorf("error %v", err)
	}
	works(t, w, db, "a")
}

func TestPostgresSavepointSavesTheTransaction(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	seed(t, w, "a")
	inTx(t, w, func(ctx context.Context, tx Tx) {
		for _, q := range []string{`SAVEPOINT x`, `INSERT INTO item (name) VALUES ('a')`, `ROLLBACK TO SAVEPOINT x`, `RELEASE SAVEPOINT x`} {
			if _, err := tx.ExecContext(ctx, q); (sqlState(err) == "23505") != (q[0] == 'I') {
				t.Errorf("%s: %v", q, err)
			}
		}
		// Told by the driver, which has not asked the server: no error of the transaction.
		if _, err := tx.ExecContext(ctx, `INSERT INTO item (name) VALUES ($1)`, func() {}); err == nil {
			t.Error("a function was stored")
		}
		if Fault(tx) != nil {
			t.Error(Fault(tx))
		}
	})
	works(t, w, db, "a")
}

func TestPostgresRowsThatAreOpenAreToldOf(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	seed(t, w, "a", "b")
	inTx(t, w, func(ctx context.Context, tx Tx) {
		rows, err := tx.QueryContext(ctx, `SELECT name FROM item`)
		if err != nil {
			t.Fatal(err)
		}
		rows.Next()
		if err := insert("x")(ctx, tx); !errors.Is(err, errRowsOpen) || IsStoreFault(err) {
			t.Errorf("error %v", err)
		}
		rows.Close()
		if err := insert("c")(ctx, tx); err != nil {
			t.Errorf("after Close: %v", err)
		}
	})
	err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		tx.QueryRowContext(ctx, `INSERT INTO item (name) VALUES ('lost') RETURNING id`) // nobody scans it
		if err := insert("x")(ctx, tx); !errors.Is(err, errRowsOpen) || IsStoreFault(err) {
			t.Errorf("error %v", err)
		}
		return nil
	})
	if !errors.Is(err, errRowsOpen) || !errors.Is(err, ErrRejected) {
		t.Errorf("error %v", err)
	}
	works(t, w, db, "a", "b", "c")
}

func TestPostgresClosesWhatWasLeftOpen(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	seed(t, w, "a")
	var rows *sql.Rows
	var stmt *sql.Stmt
	inTx(t, w, func(ctx context.Context, tx Tx) {
		stmt, _ = tx.PrepareContext(ctx, `SELECT 1`)
		rows, _ = tx.QueryContext(ctx, `SELECT name FROM item`)
	})
	if rows.Next() {
		t.Error("the rows are still open")
	}
	if _, err := stmt.Exec(); err == nil {
		t.Error("the statement is still open")
	}
	inTx(t, w, func(ctx context.Context, tx Tx) {
		tx.QueryRowContext(ctx, `INSERT INTO item (name) VALUES ('b') RETURNING id`)
	})
	works(t, w, db, "a", "b")
}

func TestPostgresGoexitAndPanicTakeBack(t *testing.T) {
	db := openPostgres(t)
	w := newWriter(t, db)
	var wg sync.WaitGroup
	for _, leave := range []func(){runtime.Goexit, func() { panic("boom") }} {
		wg.Go(func() {
			defer func() { _ = recover() }()
			_ = w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
				_ = insert("x")(ctx, tx)
				leave()
				return nil
			})
		})
	}
	wg.Wait()
	works(t, w, db)
}

// The statement waits for a row that another has locked when its context ends, with pgx as it is, and where it asks
// the server to cancel. The second keeps the connection.
func TestPostgresContextEndsAStatement(t *testing.T) {
	for name, change := range map[string][]func(*pgx.ConnConfig){"connection closed": nil, "statement cancelled": {cancelling}} {
		t.Run(name, func(t *testing.T) {
			s := newSchema(t)
			db := s.openItems(t, change...)
			w := newWriter(t, db)
			seed(t, w, "a")
			opened := db.Stats().OpenConnections
			err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
				if _, err := tx.ExecContext(ctx, `SELECT 1 FROM item FOR UPDATE`); err != nil {
					t.Error(err)
				}
				waits, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() {
					done <- w.InTx(waits, func(ctx context.Context, tx Tx) error {
						_ = insert("taken back")(ctx, tx)
						_, err := tx.ExecContext(ctx, `SELECT 1 FROM item FOR UPDATE`)
						return err
					})
				}()
				eventually(t, "the second to wait for the row", func() bool { return s.waiting(t) == 1 })
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				if kept := db.Stats().OpenConnections > opened; kept != (change != nil) {
					t.Errorf("the connection is kept: %v", kept)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			works(t, w, db, "a")
		})
	}
}

func TestPostgresContextDoesNotEndACommit(t *testing.T) {
	for name, grace := range map[string]time.Duration{"that is answered in time": defaultGrace, "but for a while": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			s, p := throughProxy(t)
			db := s.openItems(t)
			w := newWriter(t, db)
			w.grace = grace
			p.mode.Store(hold)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- w.InTx(ctx, insert("a")) }()
			<-p.seen
			p.mode.Store(pass)
			cancel()
			if grace == defaultGrace {
				select {
				case err := <-done:
					t.Errorf("the commit was broken off: %v", err)
				case <-time.After(100 * time.Millisecond): // nothing is to happen
				}
				close(p.let)
				if err := <-done; err != nil {
					t.Errorf("error %v", err)
				}
			} else {
				if err := <-done; !errors.Is(err, ErrInDoubt) {
					t.Errorf("error %v", err)
				}
				close(p.let)
			}
			w.grace = defaultGrace
			works(t, w, db, "a")
		})
	}
}

func TestPostgresThatIsAwayIsNotCommitted(t *testing.T) {
	s, p := throughProxy(t)
	db := s.openItems(t)
	w := newWriter(t, db)
	p.close()
	for range 2 {
		if err := w.InTx(t.Context(), insert("x")); !errors.Is(err, ErrNotCommitted) || !IsStoreFault(err) {
			t.Errorf("error %v", err)
		}
	}
	idle(t, db)
}
