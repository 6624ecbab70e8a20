package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/outbox"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// onEveryConnection runs a statement on all connections that the pool has from now on.
func (f *fixture) onEveryConnection(statement string) {
	f.t.Helper()
	f.db.SetMaxOpenConns(2)
	for range 2 {
		conn, err := f.db.Conn(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(f.t.Context(), statement); err != nil {
			f.t.Fatal(err)
		}
	}
}

// unavailable reports whether err is one that the door answers with 503.
func unavailable(err error) bool {
	return errors.Is(err, outbox.ErrNotCommitted) || database.IsUnavailable(err)
}

func TestOnAFullDiskWhatWasAnsweredIsStoredAndNothingElse(t *testing.T) {
	servicetest.SQLiteOnly(t, "its size can be bounded")
	f := open(t, nil)
	var pages int
	if err := f.db.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	f.onEveryConnection(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+8))
	var mu sync.Mutex
	stored := make(map[string]bool)
	refused := 0
	together(16, func(i int) {
		for n := range 50 {
			u, err := f.Create(t.Context(), named(fmt.Sprintf("%d.%d@example.org", i, n), strings.Repeat("x", 200)))
			mu.Lock()
			switch {
			case err == nil:
				stored[u.ID] = true
			case unavailable(err):
				refused++
			default:
				t.Error(err)
			}
			mu.Unlock()
		}
	})
	if len(stored) == 0 || refused == 0 {
		t.Fatalf("%d stored and %d refused: the disk was not full", len(stored), refused)
	}
	users, err := f.List(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		if !stored[u.ID] {
			t.Errorf("%s is stored, and its writer was told that it is not", u.ID)
		}
	}
	if len(users) != len(stored) {
		t.Errorf("%d are stored, %d writers were told so", len(users), len(stored))
	}
	f.onEveryConnection(`PRAGMA max_page_count = 100000`)
	if _, err := f.Create(t.Context(), named("later@example.org", "Later")); err != nil {
		t.Errorf("with room again: %v", err)
	}
	checkHistory(t, f)
}

func TestALockedDatabaseRefusesWritesAndAnswersReads(t *testing.T) {
	servicetest.SQLiteOnly(t, "nothing locks the whole of a Postgres")
	f := open(t, nil)
	u := f.created("ada@example.org", "Ada")
	f.onEveryConnection(`PRAGMA busy_timeout = 20`)
	f.db.SetMaxOpenConns(4)
	locker, err := f.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close()
	if _, err := locker.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr("B")}, nil); !unavailable(err) {
		t.Errorf("a write is answered %v", err)
	}
	if got := f.row(u.ID); got.Name != "Ada" {
		t.Errorf("the row is %+v", got)
	}
	if _, err := locker.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr("B")}, nil); err != nil || got.Version != 2 {
		t.Errorf("after the lock: %v, %v", got, err)
	}
}

func TestAChangeWhoseEventIsRefusedIsNotMade(t *testing.T) {
	f := open(t, nil)
	u := f.created("ada@example.org", "Ada")
	huge := strings.Repeat("x", bus.MaxEventBytes)
	if _, err := f.Update(t.Context(), u.ID, store.Change{Name: &huge}, nil); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("a huge name is answered %v", err)
	}
	if _, err := f.Create(t.Context(), named("b@example.org", huge)); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("a new huge name is answered %v", err)
	}
	if got, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr("B")}, nil); err != nil || got.Version != 2 {
		t.Errorf("the next change: %v, %v", got, err)
	}
	checkHistory(t, f)
}

func TestAWriteThatNobodyWaitsForIsNotBegun(t *testing.T) {
	f := open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Create(ctx, named("ada@example.org", "Ada")); !errors.Is(err, context.Canceled) {
		t.Errorf("it is answered %v", err)
	}
	if totals, err := f.Totals(t.Context()); err != nil || totals.Live != 0 {
		t.Errorf("totals are %+v, %v", totals, err)
	}
}

func TestNewSaysWhenTheTablesAreMissing(t *testing.T) {
	dsn := servicetest.DSN(t, "users")
	db := servicetest.OpenDatabase(t, dsn, "users")
	ob, err := outbox.New(t.Context(), db.DB)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.New(t.Context(), store.Config{DB: db, Outbox: ob, Topic: topic}); err == nil || !strings.Contains(err.Error(), "users") {
		t.Errorf("New answers %v", err)
	}
}
