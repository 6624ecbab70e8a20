package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
)

// tool runs a command of tidings on the service's database, wants an exit code, and returns what it printed.
func (s *service) tool(t *testing.T, code int, args ...string) string {
	t.Helper()
	p := start(t, binary(t, "tidings"), nil, append(args, "--db="+s.db)...)
	if got := p.wait(t, startTime); got != code {
		t.Fatalf("tidings %v: exit %d, want %d: %s", args, got, code, p.out.String())
	}
	return p.out.String()
}

// change executes statements on the service's database, beside it, in one transaction.
func (s *service) change(t *testing.T, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+s.db+"?mode=rw&_busy_timeout=10000&_txlock=immediate&_synchronous=FULL")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // what counts is the commit
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // in vain after the commit
	for _, text := range statements {
		if _, err := tx.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// removePeople removes a half of the directory's people, as a hand would that was quicker than its head: their rows, and
// what says that they were read.
func (s *service) removePeople(t *testing.T) {
	t.Helper()
	const half = `SELECT no FROM people WHERE no % 2 = 0`
	s.change(t,
		`UPDATE segments SET people = people - (SELECT COUNT(*) FROM people WHERE no % 2 = 0 AND NOT deleted) WHERE segment = 0`,
		`DELETE FROM terms WHERE person IN (`+half+`)`,
		`DELETE FROM tidings_inbox_mark WHERE key IN (SELECT id FROM people WHERE no IN (`+half+`))`,
		`DELETE FROM people WHERE no % 2 = 0`)
}

// removeEvents removes a half of the audit's histories, and what says that they were read.
func (s *service) removeEvents(t *testing.T) {
	t.Helper()
	const half = `SELECT user_id FROM (SELECT user_id, row_number() OVER (ORDER BY user_id) AS n FROM events GROUP BY user_id) WHERE n % 2 = 0`
	s.change(t,
		`DELETE FROM tidings_inbox_mark WHERE key IN (`+half+`)`,
		`DELETE FROM events WHERE user_id IN (`+half+`)`,
		`UPDATE totals SET events = (SELECT COUNT(*) FROM events)`)
}

// Whatever somebody removed, or spoiled, is there again, from a log that nothing more is added to, in services that run
// or are stopped. Where the bus keeps nothing there is nothing to read again, and that is said.
func TestWhatWasRemovedOrSpoiledIsMended(t *testing.T) {
	onBuses(t, func(t *testing.T, w wire) {
		s := newStack(t, w)
		ids := s.create(t, 0, 40)
		s.rename(t, ids[0], "Renamed")
		s.remove(t, ids[1])
		s.agree(t)
		if !w.keeps {
			for _, r := range s.readers() {
				if out := r.tool(t, 1, "rewind", r.name); !strings.Contains(out, "keeps no log") {
					t.Errorf("it printed %q", out)
				}
			}
			if out := s.directory.tool(t, 1, "rebuild", "directory"); !strings.Contains(out, "keeps no log") {
				t.Errorf("it printed %q", out)
			}
			s.agree(t)
			return
		}
		s.mendWhile(t, func(*service) {})
		s.mendWhile(t, func(r *service) { r.stop(t) })
		if in := s.directory.inbox(t); in.Missing+in.Lost+in.Resets != 0 || in.Keys != 40 || in.Versions != 42 {
			t.Errorf("the directory's books: %+v", in)
		}
		s.rename(t, ids[2], "Renamed, Too")
		s.agree(t)
	})
}

// mendWhile removes and spoils what the readers hold, and mends it; before says what is done to a reader first.
func (s *stack) mendWhile(t *testing.T, before func(*service)) {
	t.Helper()
	mend := func(r *service, command string, harm func(*testing.T)) {
		before(r)
		harm(t)
		r.tool(t, 0, command, r.name)
		if !r.process.running() {
			r.start(t)
		}
		s.agreeOn(t, r)
	}
	mend(s.directory, "rewind", s.directory.removePeople)
	mend(s.audit, "rewind", s.audit.removeEvents)
	had := s.mailer.inbox(t).Duplicates
	mend(s.mailer, "rewind", func(*testing.T) {})
	eventually(t, catchUpTime, func() error {
		if n := s.mailer.inbox(t).Duplicates - had; n != int64(s.ledger.len()) {
			return fmt.Errorf("the mailer has discarded %d events, want all %d", n, s.ledger.len())
		}
		return nil
	})
	s.agreeOn(t, s.mailer) // nobody is mailed twice
	mend(s.directory, "rebuild", func(t *testing.T) {
		s.directory.change(t, `UPDATE people SET name = 'Somebody Else', version = version + 7`, `DELETE FROM terms`)
	})
}

// A history would lose what only it has, and a reaction would mail everybody again.
func TestHistoriesAndReactionsAreNotRebuilt(t *testing.T) {
	s := emptyStack(t, wire{kind: kinds[0], url: "kafka://127.0.0.1:1"})
	for _, c := range []struct {
		of   *service
		want []string
	}{
		{s.audit, []string{"audit keeps a history", "`tidings rewind audit`", "a new --db"}},
		{s.mailer, []string{"mail everybody again", "`tidings rewind mailer`", "`tidings parked retry`"}},
		{s.users, []string{"users owns what it tells of", "directory, audit or mailer"}},
	} {
		out := c.of.tool(t, 2, "rebuild", c.of.name)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("rebuild %s: %q, want %q in it", c.of.name, out, want)
			}
		}
	}
}

// parked is what the tool lists of a service as parked.
func (s *service) parked(t *testing.T, more ...string) (rows []parkedRow) {
	t.Helper()
	for _, line := range lines(s.tool(t, 0, append([]string{"parked", "ls", s.name, "--json"}, more...)...)) {
		var row parkedRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		rows = append(rows, row)
	}
	return rows
}

// discardBytes puts a record on the topic that is no event at all, which every reader parks, and discards it.
func (s *stack) discardBytes(t *testing.T) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.TrimPrefix(s.url, "kafka://")))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), catchUpTime)
	defer cancel()
	record := &kgo.Record{Topic: s.users.topic, Key: []byte("by hand"), Value: []byte("hello?\x00\xff")}
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.readers() {
		var rows []parkedRow
		eventually(t, catchUpTime, func() error {
			if rows = r.parked(t, "--key=by hand"); len(rows) != 1 || rows[0].State != "dead" {
				return fmt.Errorf("%s has parked %+v", r.name, rows)
			}
			return nil
		})
		if shown := r.tool(t, 0, "parked", "show", rows[0].ID); !strings.Contains(shown, "this is no event") || !strings.Contains(shown, "|hello?..|") {
			t.Errorf("%s shows it so:\n%s", r.name, shown)
		}
		r.tool(t, 1, "parked", "retry", rows[0].ID) // no handler will ever get it
		r.tool(t, 0, "parked", "discard", rows[0].ID, "--why=somebody tried a client")
	}
}

type parkedRow struct{ ID, State, Key, Type, Error, Why string }

// Whatever comes on the topic, it is parked by who can't take it, seen, and discarded, while the services run; and all
// else goes on.
func TestPoisonIsSeenAndDiscarded(t *testing.T) {
	onBuses(t, func(t *testing.T, w wire) {
		s := newStack(t, w)
		s.create(t, 0, 10)
		poison := bus.Event{
			ID: "poison", Source: "/users", Type: "users.events.v1.UserCreated", Key: "poisoned", Version: 1,
			Time: time.Now(), Data: []byte("\xff\xfe no user"),
		}
		if err := w.open(t).Publish(t.Context(), s.users.topic, poison); err != nil {
			t.Fatal(err)
		}
		if w.keeps {
			s.discardBytes(t)
		}
		s.create(t, 10, 20)
		s.agree(t) // an audit takes everything, and looks into nothing
		for _, r := range []*service{s.directory, s.mailer} {
			var rows []parkedRow
			eventually(t, catchUpTime, func() error {
				if rows = r.parked(t, "--state=dead"); len(rows) != 1 || rows[0].Key != "poisoned" {
					return fmt.Errorf("%s has parked %+v", r.name, rows)
				}
				return nil
			})
			shown := r.tool(t, 0, "parked", "show", rows[0].ID)
			for _, want := range []string{rows[0].ID, "dead: ", "users.events.v1.UserCreated", "|.. no user|"} {
				if !strings.Contains(shown, want) {
					t.Errorf("%q is not in\n%s", want, shown)
				}
			}
			r.tool(t, 0, "parked", "retry", rows[0].ID) // in vain
			eventually(t, catchUpTime, func() error {
				if again := r.parked(t); len(again) != 1 || again[0].State != "dead" {
					return fmt.Errorf("%s has parked %+v", r.name, again)
				}
				return nil
			})
			r.tool(t, 2, "parked", "discard", rows[0].ID)
			r.tool(t, 0, "parked", "discard", r.parked(t)[0].ID, "--why=a test has sent it")
			if left := r.parked(t); len(left) > 0 {
				t.Errorf("%s has %+v left", r.name, left)
			}
			if gone := r.parked(t, "--discarded", "--key=poisoned"); len(gone) != 1 || gone[0].Why != "a test has sent it" {
				t.Errorf("%s has discarded %+v", r.name, gone)
			}
		}
		s.create(t, 20, 30)
		s.agree(t)
	})
}
