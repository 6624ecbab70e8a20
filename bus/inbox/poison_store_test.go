package inbox

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// spoilt makes an inbox whose handler does something of its own with events of the key bad, and plays three of them.
func spoilt(t *testing.T, bad func(ctx context.Context, tx Tx) error, tables ...string) (*Inbox, error) {
	t.Helper()
	db := newDB(t)
	for _, text := range tables {
		mustExec(t, db, text)
	}
	in := mustNew(t, config(t, db), On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
		if e.Key == "bad" {
			if err := bad(ctx, tx); err != nil {
				return err
			}
		}
		return insert(ctx, tx, &e, m.GetUser().GetName())
	}))
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, ""), created(t, "bad", 1, ""), created(t, "c", 1, ""))
	return in, in.handle(t.Context(), l.delivery(cut{0, 0, 3}))
}

// The rows of a handler that has failed are in nobody's way.
func TestRowsThatAHandlerLeavesOpenBlockNothing(t *testing.T) {
	for name, bad := range map[string]func(context.Context, Tx) error{
		"rows": func(ctx context.Context, tx Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT id FROM tidings_inbox_database UNION ALL SELECT 'x' UNION ALL SELECT 'y'`)
			if err != nil {
				return err
			}
			rows.Next()
			return errTest
		},
		"a row": func(ctx context.Context, tx Tx) error {
			tx.QueryRowContext(ctx, `SELECT id FROM tidings_inbox_database`) // nobody scans it
			return errTest
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := spoilt(t, bad)
			if err != nil {
				t.Fatal(err)
			}
			wantApplied(t, in, "a:1 ", "c:1 ")
			wantParked(t, in, "parked bad:1 1 retried test error")
		})
	}
}

// READONLY does not end the transaction, and the handler has made words of its own of it.
func TestAMaskedFaultOfTheStoreParksNothing(t *testing.T) {
	in, err := spoilt(t, func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, `PRAGMA query_only=ON`)
		if err != nil {
			return err
		}
		_, failed := tx.ExecContext(ctx, `DELETE FROM applied`)
		_, err = tx.ExecContext(ctx, `PRAGMA query_only=OFF`)
		return errors.Join(fmt.Errorf("mine: %v", failed), err)
	})
	if !sqldb.IsStoreFault(err) {
		t.Fatalf("the bus hears %v, want a fault of the store", err)
	}
	wantApplied(t, in)
	wantParked(t, in)
}

// A deferred constraint is looked at by COMMIT, which knows no event. A sound one stays deferred for the handler of the
// next event.
func TestABrokenDeferredConstraintIsParkedOnPostgres(t *testing.T) {
	pgtest.Server(t)
	in, err := spoilt(t, func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO child (parent) VALUES (77)`)
		return err
	}, `CREATE TABLE parent (n INTEGER PRIMARY KEY)`,
		`CREATE TABLE child (parent INTEGER REFERENCES parent (n) DEFERRABLE INITIALLY DEFERRED)`)
	if err != nil {
		t.Fatal(err)
	}
	wantApplied(t, in, "a:1 ", "c:1 ")
	if s := status(t, in); s.Parked != 1 {
		t.Errorf("status is %+v", s)
	}
}

func TestConstraintsStayDeferredBehindAParkedEventOnPostgres(t *testing.T) {
	pgtest.Server(t)
	db := newDB(t)
	mustExec(t, db, `CREATE TABLE parent (n INTEGER PRIMARY KEY)`)
	mustExec(t, db, `CREATE TABLE child (parent INTEGER REFERENCES parent (n) DEFERRABLE INITIALLY DEFERRED)`)
	in := mustNew(t, config(t, db), On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
		if e.Key == "bad" {
			return errTest
		}
		for _, text := range []string{`INSERT INTO child (parent) VALUES ($1)`, `INSERT INTO parent (n) VALUES ($1)`} {
			if _, err := tx.ExecContext(ctx, text, len(e.Key)); err != nil {
				return err
			}
		}
		return insert(ctx, tx, &e, "")
	}))
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, ""), created(t, "bad", 1, ""), created(t, "cc", 1, ""))
	l.play(in, cut{0, 0, 3})
	wantApplied(t, in, "a:1 ", "cc:1 ")
	wantParked(t, in, "parked bad:1 1 retried test error")
}
