package e2e

import (
	"database/sql"
	"fmt"
	"testing"
)

// parkedDeaths are those of who parks an event, and of who tries it again: see parkAndDie.
func parkedDeaths() (parks death, tries []death) {
	for _, at := range []string{"inbox.P1", "inbox.P2", "inbox.P3a", "inbox.P3b"} {
		tries = append(tries, death{service: "audit", at: at})
	}
	return death{service: "audit", at: "inbox.D4b"}, tries
}

// parkAndDie has an audit die while it parks an event that its table refuses, and, once the table takes it, at every
// step of trying it again. A later event waits behind it all the time.
func (m *mortal) parkAndDie(t *testing.T) {
	t.Helper()
	m.startAll(t)
	id := m.createOne(t, address(1), "Ada")
	m.agree(t)
	m.audit.stop(t)
	m.onFile(t, fmt.Sprintf(`CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.user_id = '%s' AND NEW.version = 2
		BEGIN SELECT RAISE(ABORT, 'refused by the test'); END`, id))
	m.rename(t, id, "Renamed")
	m.published(t)
	parks, tries := parkedDeaths()
	m.launchToDie(t, parks)
	m.outlive(t, parks)
	m.parked(t, 1, 0)
	m.rename(t, id, "Renamed again")
	m.parked(t, 1, 1)
	m.audit.stop(t)

	m.onFile(t, `DROP TRIGGER refuse`)
	for _, d := range tries {
		m.launchToDie(t, d)
		m.dies(t, d)
	}
	m.audit.start(t)
	m.check(t, nil)
}

// onFile changes the database of the audit, which doesn't run.
func (m *mortal) onFile(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+m.audit.db+"?_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the statement has its own commit
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// parked waits until the audit has so many parked events, and so many behind them.
func (m *mortal) parked(t *testing.T, parked, behind int64) {
	t.Helper()
	eventually(t, catchUpTime, func() error {
		if in := m.audit.inbox(t); in.Parked != parked || in.Behind != behind {
			return fmt.Errorf("%d events are parked and %d are behind them, want %d and %d", in.Parked, in.Behind, parked, behind)
		}
		return nil
	})
}
