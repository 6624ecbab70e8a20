package inbox

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Config{
		Topics: []string{""}, Gaps: 7, Unknown: -1, GapWait: -1, MaxBatch: -1, Attempts: -2, MaxAge: -time.Second, Workers: -1, Timeout: -1,
	},
		Batch(nil), Batch(func(context.Context, Tx, []bus.Event) error { return nil }, nil), Route{},
		On[*eventsv1.UserCreated](nil), On(func(context.Context, Tx, bus.Event, *eventsv1.UserCreated) error { return nil }),
		After[*eventsv1.UserDeleted](nil, Track(nil)),
	)
	if err == nil {
		t.Fatal("New took a configuration that is wrong everywhere")
	}
	for _, want := range []string{
		"Group is empty", "Topics[0] is empty", "DB is nil", "Gaps is 7", "Unknown is -1", "GapWait is -1ns", "MaxBatch is -1",
		"Attempts is -2", "MaxAge is -1s", "Workers is -1", "Timeout is -1ns",
		"Batch: the handler is nil", "Batch: no types are given", "Batch: types[0] is nil", "route 2 is the zero Route",
		"On: the handler is nil", "users.events.v1.UserCreated has two routes", "After: the handler is nil", "Track: the handler is nil",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error doesn't say %q", want)
		}
	}
	if t.Failed() {
		t.Logf("it says: %v", err)
	}
	if _, err := New(Config{Group: "g", DB: newDB(t)}); err == nil || !strings.Contains(err.Error(), "Topics is empty") || !strings.Contains(err.Error(), "no routes") {
		t.Errorf("New = %v, want that topics and routes are missing", err)
	}
}

func TestATypeHasOneRouteBesidesAfter(t *testing.T) {
	on := On(func(context.Context, Tx, bus.Event, *eventsv1.UserCreated) error { return nil })
	batch := Batch(func(context.Context, Tx, []bus.Event) error { return nil }, updatedType, createdType)
	after := After(func(context.Context, bus.Event, *eventsv1.UserCreated) error { return nil })
	for _, tt := range []struct {
		name   string
		routes []Route
		ok     bool
	}{
		{"On and After", []Route{on, after}, true},
		{"After and Batch", []Route{after, batch}, true},
		{"On twice", []Route{on, on}, false},
		{"On and Batch", []Route{on, batch}, false},
		{"Batch twice", []Route{batch, batch}, false},
		{"After twice", []Route{after, after}, false},
	} {
		if _, err := New(config(t, newDB(t)), tt.routes...); (err == nil) != tt.ok {
			t.Errorf("%s: New = %v", tt.name, err)
		}
	}
}

func TestTheGroupIsTheDatabases(t *testing.T) {
	db := newDB(t)
	name := func(in *Inbox) string { return status(t, in).Group }
	first := name(mustNew(t, config(t, db), recordAll()...))
	if !regexp.MustCompile(`^test\.[0-9a-f]{8}$`).MatchString(first) {
		t.Fatalf("the wire name is %q, want test. and 8 hex digits", first)
	}
	if again := name(mustNew(t, config(t, db), recordAll()...)); again != first {
		t.Fatalf("the same database is %q at first and %q later", first, again)
	}
	if other := name(mustNew(t, config(t, newDB(t)), recordAll()...)); other == first {
		t.Fatalf("two databases share the group %q", first)
	}
}

func TestNewRefusesWhatIsNoDatabaseOfItsKind(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "no", "such", "folder.db"))
	cfg := config(t, db)
	if _, err := New(cfg, recordAll()...); err == nil || !strings.Contains(err.Error(), `inbox: group "test"`) {
		t.Fatalf("New = %v, want an error that names the group", err)
	}
	db = newDB(t)
	db.SetMaxOpenConns(1)
	cfg.DB = db
	if _, err := New(cfg, recordAll()...); err == nil || !strings.Contains(err.Error(), "one connection") {
		t.Fatalf("New = %v, want that one connection is not enough", err)
	}
}

func TestADatabaseOfANewerProgramIsRefused(t *testing.T) {
	db := newDB(t)
	mustNew(t, config(t, db), recordAll()...)
	mustExec(t, db, `INSERT INTO tidings_inbox_version (version_id, is_applied) VALUES (99, $1)`, true)
	if _, err := New(config(t, db), recordAll()...); err == nil || !strings.Contains(err.Error(), "99") {
		t.Fatalf("New = %v, want that the database is newer", err)
	}
}
