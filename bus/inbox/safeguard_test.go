package inbox

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// What happens to rows between reading and writing can't be provoked from outside on SQLite, where one writes at a
// time; a handler that meddles stands for the other replica.
func meddling(t *testing.T, text string) (*Inbox, *tape) {
	t.Helper()
	in := mustNew(t, config(t, newDB(t)), On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserUpdated) error {
		_, err := tx.ExecContext(ctx, text)
		return err
	}), recordAll()[0])
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"))
	l.play(in, cut{0, 0, 1})
	return in, l
}

func TestRowsThatMoveMeanwhileRollTheDeliveryBack(t *testing.T) {
	for name, text := range map[string]string{
		"the position": `UPDATE tidings_inbox_position SET next = 5`,
		"the mark":     `UPDATE tidings_inbox_mark SET version = 2`,
	} {
		t.Run(name, func(t *testing.T) {
			in, l := meddling(t, text)
			if err := in.handle(t.Context(), l.delivery(cut{0, 1, 2})); !errors.Is(err, errMoved) {
				t.Fatalf("the bus hears %v, want that a row was moved", err)
			}
			wantPositions(t, in, 1)
			wantStatus(t, in, Status{Keys: 1, Versions: 1})
		})
	}
}

// On SQLite, where COMMIT names no event; Postgres is asked before: see TestABrokenDeferredConstraintIsParkedOnPostgres.
func TestACommitThatFailsStoresNothingAndParksNothing(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "test.db"), "_foreign_keys=on")
	mustExec(t, db, `CREATE TABLE applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
	mustExec(t, db, `CREATE TABLE child (parent INTEGER REFERENCES applied (n) DEFERRABLE INITIALLY DEFERRED)`)
	broken := true
	in := mustNew(t, config(t, db), On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
		if broken { // the constraint is looked at by COMMIT
			if _, err := tx.ExecContext(ctx, `INSERT INTO child (parent) VALUES (99)`); err != nil {
				return err
			}
		}
		return insert(ctx, tx, &e, m.GetUser().GetName())
	}))
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"))
	if err := in.handle(t.Context(), l.delivery(cut{0, 0, 1})); !errors.Is(err, sqldb.ErrNotCommitted) {
		t.Fatalf("the bus hears %v, want that nothing was committed", err)
	}
	wantApplied(t, in)
	wantPositions(t, in, 0)
	wantStatus(t, in, Status{})
	broken = false
	l.play(in, cut{0, 0, 1})
	wantApplied(t, in, "a:1 A")
}

// A source's number that was rolled back may be given to another source.
func TestASourcesNumberIsRememberedOnlyOnceItIsCommitted(t *testing.T) {
	fail := true
	in := mustNew(t, config(t, newDB(t)), On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
		if fail {
			return errStore
		}
		return insert(ctx, tx, &e, e.Source)
	}))
	l := newTape(t, 1)
	l.resume(in)
	x, y := created(t, "a", 1, ""), created(t, "a", 1, "")
	x.Source, y.Source = "/x", "/y"
	l.put(0, x, y)
	if err := in.handle(t.Context(), l.delivery(cut{0, 0, 1})); err == nil {
		t.Fatal("the handler's error was lost")
	}
	fail = false
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 1`)
	l.play(in, cut{0, 1, 2})
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
	l.play(in, cut{0, 0, 1})
	wantApplied(t, in, "a:1 /y", "a:1 /x")
}
