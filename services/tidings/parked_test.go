package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/database"
)

var silent = slog.New(slog.DiscardHandler)

// parkedIn makes the database of a service whose handlers take nothing of the key "bad", and has events read into it.
func parkedIn(t *testing.T, service string, events ...bus.Event) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), service+".db")
	db, err := database.Open(t.Context(), path, silent)
	if err != nil {
		t.Fatal(err)
	}
	in, err := inbox.New(inbox.Config{Group: service, Topics: []string{"topic"}, DB: db.DB, Gaps: inbox.Every, Unknown: inbox.Park, Logger: silent},
		inbox.On(func(_ context.Context, _ inbox.Tx, e bus.Event, _ *eventsv1.UserUpdated) error {
			if e.Key == "bad" {
				return bus.RetryAfter(time.Hour, errors.New("the name is\x1b[31m no name"))
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	rec := bustest.NewRecorder(bustest.WithPartitions(1), bustest.WithLogger(silent))
	if err := rec.Publish(t.Context(), "topic", events...); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, rec) }()
	for deadline := time.Now().Add(20 * time.Second); ; {
		s, err := in.Status(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("status %+v, %v", s, err)
		}
		if s.Lag == 0 {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	stop()
	if err := errors.Join(<-ended, rec.Close(context.Background()), db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func updated(t *testing.T, key string, v uint64) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/users", key, v, &eventsv1.UserUpdated{User: &eventsv1.User{Id: key, Name: "Ada", Version: v}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// broken is an event of a known type whose bytes are none.
func broken(t *testing.T, key string) bus.Event {
	e := updated(t, key, 1)
	e.Data = []byte("\xff\xff not a user \x00")
	return e
}

func strange(key string) bus.Event {
	return bus.Event{ID: "x", Source: "/else", Type: "else.v1.Thing", Key: key, Version: 1, Data: []byte("thing")}
}

// ranOK runs a command that has to succeed.
func ranOK(t *testing.T, args ...string) string {
	t.Helper()
	code, out, faults := ran(args...)
	if code != 0 {
		t.Fatalf("tidings %v: exit %d: %s", args, code, faults)
	}
	return out
}

// idsOf are the rows that are listed, by key.
func idsOf(t *testing.T, args ...string) map[string]listed {
	t.Helper()
	all := map[string]listed{}
	for line := range strings.Lines(ranOK(t, append([]string{"parked", "ls", "--json"}, args...)...)) {
		var l listed
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[l.Key+" "+version(l.Version)] = l
	}
	return all
}

func TestWhatIsParkedIsListed(t *testing.T) {
	db := "--db=" + parkedIn(t, "audit", updated(t, "good", 1), updated(t, "bad", 1), updated(t, "bad", 2), broken(t, "torn"), strange("new"))
	all := idsOf(t, db)
	if len(all) != 4 {
		t.Fatalf("listed: %+v", all)
	}
	for key, state := range map[string]string{"bad 1": "parked", "bad 2": "behind", "torn 1": "dead", "new 1": "unknown"} {
		l := all[key]
		if l.State != state || l.Service != "audit" || !strings.HasPrefix(l.ID, "audit/") || l.Topic != "topic" {
			t.Errorf("%s is %+v, want it to be %s", key, l, state)
		}
		if (l.Next != nil) != (state == "parked") {
			t.Errorf("%s is tried next at %v", key, l.Next)
		}
		if got := idsOf(t, db, "audit", "--state="+state); len(got) != 1 || got[key].ID != l.ID {
			t.Errorf("--state=%s lists %+v", state, got)
		}
	}
	if got := idsOf(t, db, "--key=bad"); len(got) != 2 {
		t.Errorf("--key=bad lists %+v", got)
	}
	if got := idsOf(t, db, "directory"); len(got) != 0 {
		t.Errorf("of another service it lists %+v", got)
	}
	table := ranOK(t, "parked", "ls", db)
	for _, want := range []string{"id ", "UserUpdated", all["bad 1"].ID, "in ", "parked", "behind", "the name is·[31m no name"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in the table:\n%s", want, table)
		}
	}
	if strings.Contains(table, "\x1b") {
		t.Errorf("what came from outside writes on the terminal:\n%q", table)
	}
	if out := ranOK(t, "parked", "ls", db, "directory"); out != "nothing is parked\n" {
		t.Errorf("printed %q", out)
	}
}

func TestAParkedEventIsShown(t *testing.T) {
	db := "--db=" + parkedIn(t, "audit", updated(t, "bad", 1), updated(t, "bad", 2), updated(t, "bad", 3), broken(t, "torn"), strange("new"))
	all := idsOf(t, db)
	for key, wants := range map[string][]string{
		"bad 1": {"parked: tried 1 time; again in ", "the name is·[31m no name", "2 events, of versions 2 to 3", `"name": "Ada"`,
			"subject", "users.events.v1.UserUpdated", "topic/0:0"},
		"bad 2":  {"behind: it waits for an earlier one"},
		"torn 1": {"dead: tried 1 time", "payload: its bytes are no users.events.v1.UserUpdated", "not a user ."},
		"new 1":  {"unknown: nothing in this service takes", `this program knows no type "else.v1.Thing"`, "|thing|"},
	} {
		out := ranOK(t, "parked", "show", all[key].ID, db)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", key, want, out)
			}
		}
	}
	var s shown
	if err := json.Unmarshal([]byte(ranOK(t, "parked", "show", "--json", all["bad 1"].ID, db)), &s); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(s.Raw)
	if err != nil {
		t.Fatal(err)
	}
	e, err := bus.ParseEnvelope(raw)
	if err != nil || e.Key != "bad" || len(s.Behind) != 2 || s.Attributes["version"] != "1" || !strings.Contains(string(s.Payload), "Ada") {
		t.Errorf("as JSON it is %+v, %v", s, err)
	}
	// With --db the number is enough.
	_, number, _ := strings.Cut(all["bad 1"].ID, "/")
	if out := ranOK(t, "parked", "show", number, db); !strings.Contains(out, all["bad 1"].ID) {
		t.Errorf("by its number alone it is\n%s", out)
	}
}

func TestParkedEventsAreRetriedAndDiscarded(t *testing.T) {
	path := parkedIn(t, "mailer", updated(t, "bad", 1), updated(t, "bad", 2), broken(t, "torn"), strange("new"))
	db := "--db=" + path
	all := idsOf(t, db)
	if code, out, faults := ran("parked", "retry", all["bad 2"].ID, all["bad 1"].ID, db); code != 1 || !strings.HasPrefix(out, "1 event is to be tried") ||
		!strings.Contains(faults, "waits behind") {
		t.Errorf("exit %d, %q, %q; want the first event to be tried, and the one behind it not", code, out, faults)
	}
	if l := idsOf(t, db)["bad 1"]; l.Tries != 0 || l.Next == nil || l.Next.After(time.Now()) {
		t.Errorf("it is %+v, want it to be due with all its tries", l)
	}
	if out := ranOK(t, "parked", "retry", "--all", "mailer", db); !strings.HasPrefix(out, "3 events are to be tried") {
		t.Errorf("printed %q", out)
	}
	if out := ranOK(t, "parked", "discard", all["torn 1"].ID, db, "--why=a test sent it"); !strings.Contains(out, all["torn 1"].ID) {
		t.Errorf("printed %q", out)
	}
	if left := idsOf(t, db); len(left) != 3 || left["torn 1"].ID != "" {
		t.Errorf("left are %+v", left)
	}
	gone := idsOf(t, db, "--discarded")
	if l := gone["torn 1"]; len(gone) != 1 || l.ID != all["torn 1"].ID || l.Why != "a test sent it" || l.Discarded == nil {
		t.Errorf("discarded are %+v", gone)
	}
	if out := ranOK(t, "parked", "ls", db, "--discarded"); !strings.Contains(out, "a test sent it") {
		t.Errorf("printed %q", out)
	}
	ranOK(t, "parked", "discard", all["bad 1"].ID, db, "--why=so that the next follows")
	if l := idsOf(t, db)["bad 2"]; l.State != "parked" {
		t.Errorf("what waited behind it is %+v", l)
	}
}

func TestParkedSaysWhatIsTypedWrong(t *testing.T) {
	path := parkedIn(t, "audit", updated(t, "bad", 1))
	t.Chdir(t.TempDir())
	id := idsOf(t, "--db="+path)["bad 1"].ID
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"parked"}, 2, "ls"},
		{[]string{"parked", "ls", "nobody"}, 2, "no service \"nobody\""},
		{[]string{"parked", "ls", "users"}, 2, "users owns"},
		{[]string{"parked", "ls", "--state=lost"}, 2, "--state"},
		{[]string{"parked", "ls"}, 1, "there is no"},
		{[]string{"parked", "ls", "audit", "--bus=redis"}, 1, filepath.Join(".tidings", "redis", "audit.db")},
		{[]string{"parked", "show", "12"}, 2, `"12": pass an id as`},
		{[]string{"parked", "show", "/12", "--db=" + path}, 2, "pass an id as"},
		{[]string{"parked", "show", "audit/x", "--db=" + path}, 2, "pass an id as"},
		{[]string{"parked", "show", "audit/0", "--db=" + path}, 2, "pass an id as"},
		{[]string{"parked", "show", "audit/999", "--db=" + path}, 1, "no parked event has this id"},
		{[]string{"parked", "show", strings.Replace(id, "audit", "mailer", 1), "--db=" + path}, 1, "it is an event of audit, and not of mailer"},
		{[]string{"parked", "retry", "--db=" + path}, 2, "--all"},
		{[]string{"parked", "retry", id, "audit", "--db=" + path}, 2, "pass an id as"},
		{[]string{"parked", "retry", "audit/999", "audit/998", "--db=" + path}, 1, "; "},
		{[]string{"parked", "discard", id, "--db=" + path}, 2, "--why is missing"},
		{[]string{"parked", "discard", id, "--db=" + path, "--why= "}, 2, "--why is missing"},
		{[]string{"parked", "discard", "audit/999", "--db=" + path, "--why=x"}, 1, "no parked event has this id"},
	} {
		code, out, faults := ran(tt.args...)
		if code != tt.code || !strings.Contains(faults, tt.want) || strings.Count(faults, "\n") != 1 || out != "" {
			t.Errorf("tidings %v: exit %d, %q, %q; want %d and %q in one line", tt.args, code, out, faults, tt.code, tt.want)
		}
	}
	if l := idsOf(t, "--db="+path)["bad 1"]; l.ID != id || l.Tries != 1 {
		t.Errorf("it is %+v, and nothing was to be changed", l)
	}
}
