package outbox

import (
	"context"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

func TestStreamIsMadeOnce(t *testing.T) {
	file := newFile(t)
	o := newOutbox(t, openDB(t, file), WithStream(topic, "/things"), WithStream(topic, "/things"), WithStream("elsewhere", "/things"))
	made := status(t, o).Streams
	if len(made) != 2 || made[0].Topic != "elsewhere" || made[1].Topic != topic || made[0].SeqLog == made[1].SeqLog {
		t.Fatalf("streams %+v", made)
	}
	p := newPubsub()
	stop := relaying(t, o, p)
	add(t, o, event("a", 1))
	drained(t, o)
	stop()
	made[1].Seq = 1
	again := newOutbox(t, openDB(t, file), WithStream(topic, "/things"))
	if got := status(t, again).Streams; !reflect.DeepEqual(got, made) {
		t.Errorf("after a restart %+v, want %+v", got, made)
	}
}

func TestStreamThatCantBeIsRefused(t *testing.T) {
	db := openDB(t, newFile(t))
	for _, s := range []streamKey{{"", "/things"}, {topic, ""}, {topic, "a\x00b"}} {
		if _, err := New(t.Context(), db, WithStream(s.topic, s.source)); err == nil || !strings.HasPrefix(err.Error(), "outbox: stream") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// released makes the tables as they were before events were numbered, with an event that was sent and one that wasn't.
func released(t *testing.T, file string) {
	t.Helper()
	first, err := fs.ReadFile(migrations, "migrations/sqlite/00001_outbox.sql")
	if err != nil {
		t.Fatal(err)
	}
	db := openDB(t, file)
	files := fstest.MapFS{"00001_outbox.sql": {Data: first}}
	if err := sqldb.Migrate(t.Context(), db, sqldb.SQLite, files, versionTable); err != nil {
		t.Fatal(err)
	}
	for v := 1; v <= 2; v++ {
		e := event("a", v)
		_, err := db.Exec(`INSERT INTO tidings_outbox (created, topic, source, key, version, id, envelope)
			VALUES (1, $1, $2, $3, $4, $5, $6)`, topic, e.Source, e.Key, v, e.ID, e.AppendEnvelope(nil))
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{
		`DELETE FROM tidings_outbox_unsent WHERE position = 1`,
		`INSERT INTO tidings_outbox_sent (position, sent, log, part, off) VALUES (1, 2, 'log', 3, 4)`,
		`UPDATE tidings_outbox_relay SET sent = 1, last = 2`,
	} {
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
}

func TestAReleasedDatabaseIsMigrated(t *testing.T) {
	file := newFile(t)
	released(t, file)
	db := openDB(t, file)
	o, p := newOutbox(t, db), newPubsub()
	if s := status(t, o); s.Pending != 1 || s.Sent != 1 || s.Unheard != 0 || len(s.Streams) != 0 {
		t.Errorf("after the migration %+v", s)
	}
	if n := count(t, db, `SELECT heard FROM tidings_outbox_sent WHERE position = 1 AND off = 4`); n != -1 {
		t.Errorf("what was sent before was heard by %d", n)
	}
	stop := relaying(t, o, p)
	drained(t, o)
	stop()
	if got := ids(p.events()); len(got) != 1 || got[0] != "a-2 #1" {
		t.Errorf("published %q", got)
	}
	rec := bustest.NewRecorder() // and with a log it goes on as before
	add(t, o, event("a", 3))
	relaying(t, o, rec)
	published(t, rec, 1)
}

func TestMigrationsGoDownAndUp(t *testing.T) {
	db := openDB(t, newFile(t))
	newOutbox(t, db)
	second, err := fs.ReadFile(migrations, "migrations/sqlite/00002_stream.sql")
	if err != nil {
		t.Fatal(err)
	}
	up, down, found := strings.Cut(string(second), "-- +goose Down")
	if !found {
		t.Fatal("there is no way down")
	}
	o := newOutbox(t, db)
	for _, script := range []string{down, up} {
		err := o.w.InOwnTx(t.Context(), func(ctx context.Context, tx Tx) error {
			_, err := tx.ExecContext(ctx, script)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add(t, o, event("a", 1))
	relaying(t, o, newPubsub())
	drained(t, o)
}

// isFirst reports whether the stream of things says that it is its source's first numbering.
func isFirst(t *testing.T, o *Outbox) bool {
	t.Helper()
	s := stream(t, o, topic, "/things")
	if len(s.SeqLog) != len(seqLogRoom) {
		t.Errorf("an id of %d characters: %q", len(s.SeqLog), s.SeqLog)
	}
	return strings.HasPrefix(s.SeqLog, bus.SeqLogFirst)
}

func TestFirstNumberingIsSaidToBeOneOnlyByAnOwnerWithoutKeys(t *testing.T) {
	fresh := WithNewStream(topic, "/things")
	if o := newOutbox(t, openDB(t, newFile(t)), WithStream(topic, "/things")); isFirst(t, o) {
		t.Error("nobody has said that there are no keys")
	}
	file := newFile(t)
	o, p := newOutbox(t, openDB(t, file), WithStream(topic, "/things"), fresh), newPubsub()
	if !isFirst(t, o) {
		t.Fatal("a new owner's first numbering is not said to be one")
	}
	add(t, o, event("a", 1))
	stop := relaying(t, o, p)
	drained(t, o)
	stop()
	if o = newOutbox(t, openDB(t, file), fresh); !isFirst(t, o) || !strings.HasPrefix(p.events()[0].SeqLog, bus.SeqLogFirst) {
		t.Error("it doesn't stay so")
	}
	mustExec(t, o, `DELETE FROM tidings_outbox_stream`) // as in a database of before there were numbers
	if o = newOutbox(t, openDB(t, file), fresh); isFirst(t, o) {
		t.Error("events were sent before")
	}
}

func TestFirstNumberingIsNoneOnceALogWasUsed(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t)), WithNewStream(topic, "/things")), newPubsub()
	add(t, o, event("a", 1))
	stop := relaying(t, o, bustest.NewRecorder())
	drained(t, o)
	stop()
	add(t, o, event("a", 2))
	relaying(t, o, p)
	drained(t, o)
	if e := p.events()[0]; isFirst(t, o) || e.Seq != 1 || strings.HasPrefix(e.SeqLog, bus.SeqLogFirst) {
		t.Errorf("%s has number %d of %q, and version 1 has none of it", e.ID, e.Seq, e.SeqLog)
	}
}

// mustExec changes the tables.
func mustExec(t *testing.T, o *Outbox, query string) {
	t.Helper()
	err := o.w.InOwnTx(t.Context(), func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, query)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
