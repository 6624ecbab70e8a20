package outbox

import (
	"context"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

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
