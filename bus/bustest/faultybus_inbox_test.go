package bustest_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
)

// The real inbox has to handle each event once, in order, whatever a bus may do to it and a publisher has to repeat.
func TestAnInboxUnderFaultsHandlesEachEventOnce(t *testing.T) {
	r := bustest.NewRecorder()
	b := bustest.Faults{
		Seed: 11, RepeatPublish: 0.1, RefusePublish: 0.1, LoseAck: 0.1,
		RepeatDelivery: 0.1, FailBefore: 0.1, FailAfter: 0.1, Reorder: 0.5, Cut: 0.02, Delay: 0.05,
	}.Wrap(r)
	db, in := newHistory(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- in.Run(running, b) }()
	es := happenings(t, 20, "a", "b", "c", "d", "e")
	for chunk := range slices.Chunk(es, 10) {
		for left := chunk; len(left) > 0; {
			failed := failures(t, b.Publish(ctx, "topic", left...), left)
			left = slices.DeleteFunc(slices.Clone(left), func(e bus.Event) bool { return failed[place(e)] == nil })
		}
	}
	for _, e := range es[len(es)-5:] {
		if err := in.Await(ctx, e.Source, e.Key, e.Version); err != nil {
			t.Fatalf("%s: %v", place(e), err)
		}
	}
	status, err := in.Status(ctx)
	if err := errors.Join(err, r.Drain(ctx, status.Group, "topic")); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	checkHistory(t, db, es)
	if c := b.Counts(); c.RepeatPublish*c.RefusePublish*c.LoseAck*c.RepeatDelivery*c.FailBefore*c.FailAfter*c.Reorder*c.Cut*c.Delay == 0 {
		t.Errorf("some fault never struck: %+v", c)
	}
}

// newHistory is a database and an inbox that writes down in it each event that it handles.
func newHistory(t *testing.T) (*sql.DB, *inbox.Inbox) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "history.db")+
		"?_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec(`CREATE TABLE handled (id INTEGER PRIMARY KEY, user TEXT, version INTEGER)`); err != nil {
		t.Fatal(err)
	}
	in, err := inbox.New(inbox.Config{Group: "history", Topics: []string{"topic"}, DB: db, Gaps: inbox.Every},
		inbox.On(func(ctx context.Context, tx inbox.Tx, e bus.Event, _ *wrapperspb.StringValue) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO handled (user, version) VALUES ($1, $2)`, e.Key, int64(e.Version))
			return err
		}))
	if err != nil {
		t.Fatal(err)
	}
	return db, in
}

// checkHistory looks whether each event was handled once, each key's in order.
func checkHistory(t *testing.T, db *sql.DB, es []bus.Event) {
	t.Helper()
	rows, err := db.Query(`SELECT user, version FROM handled ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n, last := 0, make(map[string]uint64)
	for ; rows.Next(); n++ {
		var e bus.Event
		if err := rows.Scan(&e.Key, &e.Version); err != nil {
			t.Fatal(err)
		}
		if e.Version != last[e.Key]+1 {
			t.Errorf("%s was handled after version %d", place(e), last[e.Key])
		}
		last[e.Key] = e.Version
	}
	if err := rows.Err(); err != nil || n != len(es) {
		t.Errorf("%d events were handled, of %d: %v", n, len(es), err)
	}
}
