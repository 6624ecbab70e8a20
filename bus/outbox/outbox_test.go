package outbox

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// stored are the ids in the outbox, in order.
func stored(t *testing.T, db *sql.DB) (ids []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT id FROM tidings_outbox ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestAddStoresTheEnvelope(t *testing.T) {
	db := openDB(t, newFile(t))
	o := newOutbox(t, db)
	e := event("a", 3)
	e.Ext = map[string]string{"traceparent": "00-1"}
	e.Data = []byte{0, 1, 0xff}
	add(t, o, e)
	var got struct {
		topic, source, key, id string
		version, created       int64
		envelope               []byte
	}
	row := db.QueryRowContext(t.Context(), `SELECT topic, source, key, version, id, created, envelope FROM tidings_outbox`)
	if err := row.Scan(&got.topic, &got.source, &got.key, &got.version, &got.id, &got.created, &got.envelope); err != nil {
		t.Fatal(err)
	}
	if got.topic != topic || got.source != e.Source || got.key != "a" || got.version != 3 || got.id != e.ID {
		t.Errorf("stored %+v", got)
	}
	if age := time.Since(time.UnixMicro(got.created)); age < 0 || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
	if want := e.AppendEnvelope(nil); !slices.Equal(got.envelope, want) {
		t.Errorf("envelope %q, want %q", got.envelope, want)
	}
}

func TestRollbackStoresAndSendsNothing(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db), bustest.NewRecorder()
	relaying(t, o, rec)
	want := errors.New("no")
	err := o.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		return errors.Join(o.Add(ctx, tx, topic, event("a", 1)), want)
	})
	if !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Add(t.Context(), tx, topic, event("b", 1)), tx.Rollback()); err != nil {
		t.Fatal(err)
	}
	add(t, o, event("c", 1))
	if got := published(t, rec, 1); !slices.Equal(got, []string{"c-1"}) {
		t.Errorf("published %q", got)
	}
	if got := stored(t, db); !slices.Equal(got, []string{"c-1"}) {
		t.Errorf("stored %q", got)
	}
}

func TestAddWorksInAPlainTransaction(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db), bustest.NewRecorder()
	o.pace.look = time.Hour // so that it is the wake that is heard
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Add(t.Context(), tx, topic, event("a", 1), event("a", 2)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	o.Wake()
	if got := published(t, rec, 2); !slices.Equal(got, []string{"a-1", "a-2"}) {
		t.Errorf("published %q", got)
	}
}

func TestAddKeepsTheOrderOfMany(t *testing.T) {
	db := openDB(t, newFile(t))
	o := newOutbox(t, db)
	var want []string
	for _, n := range []int{0, 1, 4, 5, 26, 247} {
		var events []bus.Event
		for range n {
			events = append(events, event("k", len(want)+1))
			want = append(want, events[len(events)-1].ID)
		}
		add(t, o, events...)
	}
	if got := stored(t, db); !slices.Equal(got, want) {
		t.Errorf("stored %d rows in another order than %d were added", len(got), len(want))
	}
	if s := status(t, o); s.Pending != int64(len(want)) {
		t.Errorf("%d pending, want %d", s.Pending, len(want))
	}
}

func TestAddRefusesWhatABusRefuses(t *testing.T) {
	db := openDB(t, newFile(t))
	o := newOutbox(t, db)
	large, noKey, far := event("a", 1), event("", 1), event("b", 1)
	large.Data = make([]byte, bus.MaxEventBytes)
	far.Version = math.MaxInt64 + 1
	try := func(topic string, events ...bus.Event) error { return addTo(t.Context(), o, topic, events...) }
	if err := try(topic, event("a", 1), large); !errors.Is(err, bus.ErrTooLarge) || !strings.Contains(err.Error(), "event 1") {
		t.Errorf("too large: %v", err)
	}
	if err := try(topic, noKey, event("a", 1), far); err == nil ||
		!strings.Contains(err.Error(), "event 0") || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("two faults: %v", err)
	}
	if err := try("", event("a", 1)); err == nil {
		t.Error("no topic, and no error")
	}
	if got := stored(t, db); len(got) > 0 {
		t.Errorf("stored %q", got)
	}
	large.Data = make([]byte, bus.MaxEventBytes-1000)
	if err := try(topic, large); err != nil {
		t.Errorf("the largest that fits: %v", err)
	}
}

func TestAddEndsWithItsContext(t *testing.T) {
	o := newOutbox(t, openDB(t, newFile(t)))
	ctx, cancel := context.WithCancel(t.Context())
	err := o.InTx(ctx, func(ctx context.Context, tx Tx) error {
		cancel()
		return o.Add(ctx, tx, topic, event("a", 1))
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestNewMigratesOnceAndKeepsWhatIsThere(t *testing.T) {
	file := newFile(t)
	add(t, newOutbox(t, openDB(t, file)), event("a", 1))
	db := openDB(t, file)
	if s := status(t, newOutbox(t, db)); s.Pending != 1 {
		t.Errorf("after a restart %+v", s)
	}
	if n := count(t, db, `SELECT count(*) FROM sqlite_master WHERE name = 'tidings_outbox_version'`); n != 1 {
		t.Error("no version table of its own")
	}
}

func TestNewRefusesWhatCantWork(t *testing.T) {
	db := openDB(t, newFile(t))
	if _, err := New(t.Context(), db, WithKeep(0)); err == nil {
		t.Error("keep 0 was taken")
	}
	db.SetMaxOpenConns(1)
	if _, err := New(t.Context(), db); err == nil {
		t.Error("one connection was taken")
	}
	closed := openDB(t, newFile(t))
	closed.Close()
	if _, err := New(t.Context(), closed); err == nil || !strings.HasPrefix(err.Error(), "outbox: ") {
		t.Errorf("a closed database: %v", err)
	}
}

func TestStatus(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db), bustest.NewRecorder()
	if s := status(t, o); !reflect.DeepEqual(s, Status{}) {
		t.Errorf("of an empty outbox: %+v", s)
	}
	before := time.Now().Add(-time.Millisecond)
	add(t, o, event("a", 1))
	between := time.Now()
	add(t, o, event("a", 2))
	s := status(t, o)
	if s.Pending != 2 || s.Oldest.Before(before) || s.Oldest.After(between) || s.Sent != 0 || s.Relaying {
		t.Errorf("before the relay: %+v", s)
	}
	stop := relaying(t, o, rec)
	s = drained(t, o)
	if s.Sent != 2 || s.LastSent.Before(between) || !s.Oldest.IsZero() || !s.Relaying {
		t.Errorf("after the relay: %+v", s)
	}
	stop()
	if s := status(t, o); s.Relaying {
		t.Errorf("after the end: %+v", s)
	}
	db.Close()
	if _, err := o.Status(t.Context()); err == nil {
		t.Error("of a closed database there is a status")
	}
}

func TestReadingStartsFromWhatIsUnsent(t *testing.T) {
	db := openDB(t, newFile(t))
	newOutbox(t, db)
	steps := plan(t, db, readQuery, 0, 1, 2)
	if len(steps) != 2 || !strings.HasPrefix(steps[0], "SEARCH u USING INTEGER PRIMARY KEY") || !strings.HasPrefix(steps[1], "SEARCH o") {
		t.Errorf("plan %q", steps)
	}
}
