package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// check waits until all is quiet and looks whether what the tables say is so: what was acknowledged is everywhere, in
// order and once, nothing is left over, and a mail went out twice only where its mailer died on it.
func (m *mortal) check(t *testing.T, deaths []death) {
	t.Helper()
	m.agree(t)
	if o := m.outbox(t); o.Pending != 0 || o.Failed != 0 {
		t.Errorf("the outbox holds %d events, and %d that can't be sent", o.Pending, o.Failed)
	}
	told := m.ledger.all()
	for _, r := range m.readers() {
		if err := m.booksOf(t, r, told); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
	twice := m.checkMails(t, told)
	for _, d := range deaths {
		// There the server has said yes to at least one mail whose "sent" is not stored.
		if p := d.point(); (p == "inbox.R2" || p == "inbox.R3a") && twice == 0 {
			t.Errorf("the mailer died at %s, and no mail was sent again", p)
		}
	}
	m.cut = map[string]int{}
	m.printed.Reset()
	if t.Failed() {
		t.FailNow()
	}
}

// booksOf compares a reader's own count with what was told to it.
func (m *mortal) booksOf(t *testing.T, r *service, told map[string][]fact) error {
	t.Helper()
	in := r.inbox(t)
	if in.Lost+in.Resets+in.Waiting+in.Parked+in.Dead+in.Queue+in.Skipped != 0 {
		return fmt.Errorf("something is left over: %+v", in)
	}
	if !m.keeps && r.killed {
		return nil // where it was killed it has missed something, as agree has counted
	}
	if in.Missed != 0 || in.Missing+in.Holes != 0 {
		return fmt.Errorf("something is missing: %+v", in)
	}
	versions := 0
	for _, events := range told {
		versions += len(events)
	}
	if in.Keys != int64(len(told)) || in.Versions != uint64(versions) {
		return fmt.Errorf("has %d keys and %d versions, want %d and %d", in.Keys, in.Versions, len(told), versions)
	}
	return nil
}

// checkMails counts the mails of each user, and returns to how many users one went out again since the last check.
func (m *mortal) checkMails(t *testing.T, told map[string][]fact) (twice int) {
	t.Helper()
	logged := lines(m.printed.String() + m.mailer.process.out.String())
	wrong := 0
	for id, events := range told {
		if wrong == 5 {
			t.Error("… and more")
			return twice
		}
		mails := m.office.mails(events[0].Email)
		had, other := max(1, m.had[id]), func(mail string) bool { return mail != mails[0] }
		if n := len(mails); n < had || n > had+m.cut[id] || slices.ContainsFunc(mails, other) {
			wrong++
			t.Errorf("user %s got %d mails, %q, had %d, and mailers died on %d", id, n, mails, m.had[id], m.cut[id])
		} else if n > had {
			twice++
		}
		m.had[id] = len(mails)
		if m.cut[id] > 0 && !slices.ContainsFunc(logged, func(line string) bool {
			return strings.Contains(line, "a reaction is performed again") && strings.Contains(line, id)
		}) {
			t.Errorf("the mailer has not logged that it mails user %s again", id)
		}
	}
	return twice
}

// notice takes down on whose mails the mailer has just died.
func (m *mortal) notice(t *testing.T) {
	t.Helper()
	m.printed.WriteString(m.mailer.process.out.String())
	db := m.remains(t)
	defer func() { _ = db.Close() }() // nothing was written
	rows, err := db.QueryContext(t.Context(), `SELECT key, attempts FROM tidings_inbox_queue WHERE state = 'sending'`)
	if err != nil {
		t.Errorf("the dead mailer's queue: %v", err)
		return
	}
	defer func() { _ = rows.Close() }() // its error is that of Err
	for rows.Next() {
		var id string
		var attempts int // of which this is the last; what waits for the lease of the one before has begun no other
		if err := rows.Scan(&id, &attempts); err != nil {
			t.Error(err)
		}
		m.cut[id] = attempts
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
}

// remains opens the dead mailer's database: of a file, a copy, for it is the mailer's to mend it.
func (m *mortal) remains(t *testing.T) *sql.DB {
	t.Helper()
	open := m.mailer.database
	if m.server == "" {
		to := filepath.Join(t.TempDir(), "mailer.db")
		for _, suffix := range []string{"", "-wal"} {
			content, err := os.ReadFile(m.mailer.db + suffix)
			if err == nil {
				err = os.WriteFile(to+suffix, content, 0o600)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		open = func() (*sql.DB, error) { return sql.Open("sqlite3", "file:"+to) }
	}
	db, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// waitAndDie has readers die while an event waits for the one before it. The owner never sends one early, so this is
// about somebody whom it doesn't know, and who is gone at the end.
func (m *mortal) waitAndDie(t *testing.T) {
	t.Helper()
	m.startAll(t)
	b := m.open(t)
	id, email := uuid.Must(uuid.NewV7()).String(), address(1)
	publish := func(e bus.Event, err error) {
		if err == nil {
			err = b.Publish(t.Context(), m.users.topic, e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	publish(created(t, id, email), nil)
	waiting := []*service{m.audit, m.mailer}
	m.have(t, waiting, 1, 0)
	for _, r := range waiting {
		r.stop(t)
	}
	publish(bus.NewEvent("/users", id, 3, &eventsv1.UserDeleted{Id: id, Version: 3}))
	for _, d := range heldBack() {
		m.launchToDie(t, d)
	}
	var watchers sync.WaitGroup // both at once: what waits does so for a minute
	for _, d := range heldBack() {
		watchers.Go(func() { m.outlive(t, d) })
	}
	watchers.Wait()
	m.have(t, waiting, 1, 1)
	publish(updated(t, id, email), nil)
	for _, change := range []func(*fact){
		func(e *fact) { e.Email = email }, func(*fact) {}, func(e *fact) { e.deleted = true },
	} {
		m.ledger.add(id, m.readers(), change)
	}
	m.agree(t)
	for _, r := range waiting {
		if err := m.booksOf(t, r, m.ledger.all()); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
	m.checkMails(t, m.ledger.all())
}

// have waits until readers have done so many versions, and so many wait.
func (m *mortal) have(t *testing.T, readers []*service, done uint64, waiting int64) {
	t.Helper()
	for _, r := range readers {
		eventually(t, catchUpTime, func() error {
			if in := r.inbox(t); in.Versions != done || in.Waiting != waiting {
				return fmt.Errorf("%s has done %d versions and %d wait, want %d and %d", r.name, in.Versions, in.Waiting, done, waiting)
			}
			return nil
		})
	}
}
