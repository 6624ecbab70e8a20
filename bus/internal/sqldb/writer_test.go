package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate is a transaction that leads and waits inside, so that others line up behind it.
type gate struct {
	entered, open chan struct{}
	done          chan error
}

func shut(t *testing.T, w *Writer, fn func(context.Context, Tx) error) *gate {
	t.Helper()
	g := &gate{make(chan struct{}), make(chan struct{}), make(chan error, 1)}
	go func() {
		g.done <- w.InTx(context.Background(), func(ctx context.Context, tx Tx) error {
			close(g.entered)
			<-g.open
			return fn(ctx, tx)
		})
	}()
	<-g.entered
	return g
}

// line starts a transaction and returns once it stands in line.
func line(t *testing.T, w *Writer, do func() error) (done chan error) {
	t.Helper()
	length := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.waiting)
	}
	before := length()
	done = make(chan error, 1)
	go func() { done <- do() }()
	eventually(t, "the transaction to stand in line", func() bool { return length() > before })
	return done
}

func TestManyWritersAllCommit(t *testing.T) { onBoth(t, testManyWritersAllCommit) }

func testManyWritersAllCommit(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	w := newWriter(t, db)
	defer w.Hold()()
	const writers, each = 32, 20
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for k := range each {
				if err := w.InTx(t.Context(), insert(fmt.Sprint(i, "/", k))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(names(t, db)); n != writers*each {
		t.Fatalf("%d rows, want %d", n, writers*each)
	}
}

func TestSharedCommitKeepsEachTransactionApart(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	g := shut(t, w, insert("first"))
	conflict := line(t, w, func() error {
		return w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
			if err := insert("taken back")(ctx, tx); err != nil {
				return err
			}
			return insert("first")(ctx, tx)
		})
	})
	boom := line(t, w, func() (err error) {
		defer func() { err = recover().(error) }()
		return w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
			_ = insert("before the panic")(ctx, tx)
			panic("boom")
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := line(t, w, func() error { return w.InTx(ctx, insert("cancelled")) })
	good := line(t, w, func() error { return w.InTx(t.Context(), insert("last")) })
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, c := range []chan error{conflict, boom, good} {
		if len(c) > 0 {
			t.Error("somebody was answered before the commit")
		}
	}
	close(g.open)
	if err := errors.Join(<-g.done, <-good); err != nil {
		t.Error(err)
	}
	if err := <-conflict; err == nil || errors.Is(err, ErrNotCommitted) {
		t.Errorf("conflict: %v, want the error of the statement", err)
	}
	if err := <-boom; !strings.Contains(err.Error(), "boom") || !strings.Contains(err.Error(), "writer_test.go") {
		t.Errorf("panic without its value and place: %v", err)
	}
	if got := names(t, db); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("stored %q", got)
	}
}

func TestNobodyIsAnsweredBeforeTheCommit(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	g := shut(t, w, insert("leader"))
	inside := make(chan struct{})
	hold := make(chan struct{})
	early := line(t, w, func() error { return w.InTx(t.Context(), insert("early")) })
	failed := line(t, w, func() error {
		return w.InTx(t.Context(), func(context.Context, Tx) error { return errors.New("conflict") })
	})
	late := line(t, w, func() error {
		return w.InTx(t.Context(), func(context.Context, Tx) error { close(inside); <-hold; return nil })
	})
	close(g.open)
	<-inside // the three before have run
	if len(g.done)+len(early)+len(failed) > 0 {
		t.Error("answered before the commit")
	}
	if n := names(t, db); len(n) > 0 {
		t.Errorf("visible before the commit: %q", n)
	}
	close(hold)
	if err := errors.Join(<-g.done, <-early, <-late); err != nil || <-failed == nil {
		t.Error(err)
	}
}

func TestInOwnTxSharesWithNobody(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	g := shut(t, w, insert("one"))
	own := line(t, w, func() error {
		return w.InOwnTx(t.Context(), func(ctx context.Context, tx Tx) error {
			if got := names(t, db); !slices.Equal(got, []string{"one"}) {
				t.Errorf("the transaction before is not committed: %q", got)
			}
			return insert("two")(ctx, tx)
		})
	})
	after := line(t, w, func() error {
		return w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
			if got := names(t, db); !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("it shared its commit: %q", got)
			}
			return nil
		})
	})
	close(g.open)
	if err := errors.Join(<-g.done, <-own, <-after); err != nil {
		t.Fatal(err)
	}
}

func TestInOwnTxTakesBackWhatFailed(t *testing.T) { onBoth(t, testInOwnTxTakesBackWhatFailed) }

func testInOwnTxTakesBackWhatFailed(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	w := newWriter(t, db)
	want := errors.New("no")
	err := w.InOwnTx(t.Context(), func(ctx context.Context, tx Tx) error {
		return errors.Join(insert("gone")(ctx, tx), want)
	})
	if !errors.Is(err, want) || errors.Is(err, ErrNotCommitted) {
		t.Errorf("error %v", err)
	}
	func() {
		defer func() {
			if p, ok := recover().(error); !ok || !errors.Is(p, want) {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = w.InOwnTx(t.Context(), func(ctx context.Context, tx Tx) error {
			_ = insert("gone too")(ctx, tx)
			panic(want)
		})
	}()
	if err := w.InOwnTx(t.Context(), insert("kept")); err != nil {
		t.Error(err)
	}
	if got := names(t, db); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("stored %q", got)
	}
}

func TestGoexitLosesTheTransactionAndNotTheWriter(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	g := shut(t, w, insert("shares it"))
	// The one who leaves runs on the leader's goroutine, which ends with it: g.done stays empty.
	exits := line(t, w, func() error {
		return w.InTx(t.Context(), func(context.Context, Tx) error { runtime.Goexit(); return nil })
	})
	shares := line(t, w, func() error { return w.InTx(t.Context(), insert("next")) })
	close(g.open)
	if err := <-exits; !errors.Is(err, ErrNotCommitted) {
		t.Errorf("error %v", err)
	}
	if err := <-shares; err != nil {
		t.Errorf("the next transaction: %v", err)
	}
	if got := names(t, db); !slices.Equal(got, []string{"next"}) {
		t.Errorf("stored %q", got)
	}
}

func TestTransactionThatTheDatabaseEndsIsLostForAll(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	defer w.Hold()()
	if err := w.InTx(t.Context(), insert("before")); err != nil {
		t.Fatal(err)
	}
	setPages(t, w, "PRAGMA max_page_count = 6")
	g := shut(t, w, insert("shares it"))
	conflict := line(t, w, func() error { return w.InTx(t.Context(), insert("before")) })
	full := line(t, w, func() error {
		return w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
			big := strings.Repeat("x", 100_000)
			if err := insert(big)(ctx, tx); err == nil {
				t.Error("the disk is not full")
			}
			// Whoever ignores the error must not store anything on its own.
			if err := insert("on its own")(ctx, tx); !errors.Is(err, ErrNotCommitted) {
				t.Errorf("a statement after the end: %v", err)
			}
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT 1`).Scan(&n); !errors.Is(err, ErrNotCommitted) {
				t.Errorf("a query after the end: %v", err)
			}
			return nil
		})
	})
	close(g.open)
	for name, c := range map[string]chan error{"leader": g.done, "conflict": conflict, "full": full} {
		if err := <-c; !errors.Is(err, ErrNotCommitted) {
			t.Errorf("%s: %v, want ErrNotCommitted", name, err)
		}
	}
	setPages(t, w, "PRAGMA max_page_count = 1000000")
	if err := w.InTx(t.Context(), insert("after")); err != nil {
		t.Errorf("the writer is broken: %v", err)
	}
	if got := names(t, db); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("stored %q", got)
	}
}

// setPages changes the limit of the writer's own connection, for which it is kept.
func setPages(t *testing.T, w *Writer, pragma string) {
	t.Helper()
	err := w.InOwnTx(t.Context(), func(ctx context.Context, tx Tx) error {
		var n int
		return tx.QueryRowContext(ctx, pragma).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSwallowedErrorOfAPreparedStatementIsNotACommit(t *testing.T) {
	for _, own := range []bool{false, true} {
		db := openDB(t)
		w := newWriter(t, db)
		release := w.Hold()
		setPages(t, w, "PRAGMA max_page_count = 6")
		do := w.InTx
		if own {
			do = w.InOwnTx
		}
		err := do(t.Context(), func(ctx context.Context, tx Tx) error {
			s, err := tx.PrepareContext(ctx, `INSERT INTO item (name) VALUES ($1)`)
			if err != nil {
				return err
			}
			_, _ = s.ExecContext(ctx, strings.Repeat("x", 100_000))
			return nil
		})
		if !errors.Is(err, ErrNotCommitted) {
			t.Errorf("own %v: %v", own, err)
		}
		release()
	}
}

func TestHoldKeepsTheConnectionAndReleaseGivesItBack(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	inUse := func() int { return db.Stats().InUse }
	if err := w.InTx(t.Context(), insert("a")); err != nil || inUse() != 0 {
		t.Fatalf("without Hold: %v, %d connections in use", err, inUse())
	}
	first, second := w.Hold(), w.Hold()
	if err := w.InTx(t.Context(), insert("b")); err != nil || inUse() != 1 {
		t.Fatalf("with Hold: %v, %d connections in use", err, inUse())
	}
	first()
	first() // once only
	if inUse() != 1 {
		t.Fatal("given back though somebody holds")
	}
	second()
	if inUse() != 0 {
		t.Fatal("not given back")
	}
	if err := w.InTx(t.Context(), insert("c")); err != nil || inUse() != 0 {
		t.Fatalf("after release: %v, %d connections in use", err, inUse())
	}
}

func TestOneConnectionIsRefused(t *testing.T) { onBoth(t, testOneConnectionIsRefused) }

func testOneConnectionIsRefused(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	db.SetMaxOpenConns(1)
	if _, err := Open(t.Context(), db); err == nil || !strings.Contains(err.Error(), "SetMaxOpenConns") {
		t.Fatalf("error %v", err)
	}
}

func TestWaitForAConnectionEndsWithTheContext(t *testing.T) {
	onBoth(t, testWaitForAConnectionEndsWithTheContext)
}

func testWaitForAConnectionEndsWithTheContext(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	db.SetMaxOpenConns(2)
	w := newWriter(t, db)
	for range 2 {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.InTx(ctx, insert("x")) }()
	eventually(t, "the writer to wait for a connection", func() bool { return db.Stats().WaitCount > 0 })
	w.Hold()() // doesn't block meanwhile
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNotCommitted) {
		t.Fatalf("error %v", err)
	}
}

func TestBusyDatabaseIsNotCommitted(t *testing.T) {
	db := openDB(t)
	w := newWriter(t, db)
	defer w.Hold()()
	setPages(t, w, "PRAGMA busy_timeout = 1")
	other, err := db.BeginTx(t.Context(), nil) // immediate, by the DSN
	if err != nil {
		t.Fatal(err)
	}
	if err := w.InTx(t.Context(), insert("x")); !errors.Is(err, ErrNotCommitted) {
		t.Errorf("error %v", err)
	}
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := w.InTx(t.Context(), insert("y")); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestClosedDatabaseIsAnErrorEachTime(t *testing.T) {
	onBoth(t, testClosedDatabaseIsAnErrorEachTime)
}

func testClosedDatabaseIsAnErrorEachTime(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	w := newWriter(t, db)
	if err := w.InTx(t.Context(), insert("x")); err != nil {
		t.Fatal(err)
	}
	db.Close()
	for range 3 {
		if err := w.InTx(t.Context(), insert("y")); !errors.Is(err, ErrNotCommitted) {
			t.Fatalf("error %v", err)
		}
	}
}

func TestNestedTransactionIsRefused(t *testing.T) { onBoth(t, testNestedTransactionIsRefused) }

func testNestedTransactionIsRefused(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	w, other := newWriter(t, db), newWriter(t, openDB(t))
	err := w.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		if err := other.InTx(ctx, insert("elsewhere")); err != nil {
			t.Errorf("another database: %v", err)
		}
		return w.InTx(ctx, insert("x"))
	})
	if !errors.Is(err, errNested) {
		t.Fatalf("error %v", err)
	}
}

func TestContextEndsAtTheNextStatement(t *testing.T) { onBoth(t, testContextEndsAtTheNextStatement) }

func testContextEndsAtTheNextStatement(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	w := newWriter(t, db)
	ctx, cancel := context.WithCancelCause(t.Context())
	err := w.InTx(ctx, func(ctx context.Context, tx Tx) error {
		if err := insert("a")(ctx, tx); err != nil {
			return err
		}
		cancel(errors.New("the caller has gone"))
		if (ctx.Done() != nil) != (w.Dialect() == Postgres) || ctx.Err() == nil {
			t.Error("the context inside must tell of the end, and interrupt nothing that is shared")
		}
		return insert("b")(context.Background(), tx)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := w.InTx(ctx, insert("c")); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if got := names(t, db); len(got) > 0 {
		t.Errorf("stored %q", got)
	}
}

func TestLongTransactionsDontShareForEver(t *testing.T) {
	w := newWriter(t, openDB(t))
	w.waiting = []*request{{}, {}}
	if w.next(1, time.Now().Add(-time.Second)) != nil || w.next(maxShared, time.Now()) != nil {
		t.Error("no bound")
	}
	if w.next(1, time.Now()) == nil {
		t.Error("nobody may join")
	}
	w.waiting[0].alone = true
	if w.next(1, time.Now()) != nil {
		t.Error("one that wants to be alone has joined")
	}
}

func TestWriterUnderFire(t *testing.T) { onBoth(t, testWriterUnderFire) }

func testWriterUnderFire(t *testing.T, openDB func(testing.TB) *sql.DB) {
	db := openDB(t)
	w := newWriter(t, db)
	var wg sync.WaitGroup
	var mu sync.Mutex
	want := make(map[string]bool)
	for i := range 16 {
		wg.Go(func() {
			for k := range 40 {
				name := fmt.Sprint(i, "/", k)
				if mixed(t.Context(), w, name, i+k) == nil {
					mu.Lock()
					want[name] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	got := names(t, db)
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	for _, n := range got {
		if !want[n] {
			t.Errorf("%s is stored though its caller was told otherwise", n)
		}
	}
	if w.leading || len(w.waiting) > 0 || db.Stats().InUse > 0 {
		t.Errorf("leading %v, waiting %d, in use %d", w.leading, len(w.waiting), db.Stats().InUse)
	}
}

// mixed does one transaction of a kind that i picks.
func mixed(ctx context.Context, w *Writer, name string, i int) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("panic")
		}
	}()
	switch i % 7 {
	case 0:
		return w.InOwnTx(ctx, insert(name))
	case 1:
		go cancel()
	case 2:
		return w.InTx(ctx, func(ctx context.Context, tx Tx) error {
			return errors.Join(insert(name)(ctx, tx), errors.New("conflict"))
		})
	case 3:
		return w.InTx(ctx, func(ctx context.Context, tx Tx) error {
			_ = insert(name)(ctx, tx)
			panic(name)
		})
	}
	return w.InTx(ctx, insert(name))
}
