package e2e

import (
	"fmt"
	"net/http"
	"path"
	"sync/atomic"
	"testing"
	"time"
)

// people are numbers for those who are made up, each given out once.
type people struct{ last atomic.Int64 }

// load is how many write at a time, and how long each waits before it makes the next user.
func load() (writers int, pause time.Duration) {
	if thorough() {
		return 4, 25 * time.Millisecond
	}
	return 2, 100 * time.Millisecond
}

// keepWriting makes users, renames them, and removes some, until stop is closed. What it was not answered it asks again,
// so that it knows what the owner must have.
func (m *mortal) keepWriting(t *testing.T, pause time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			m.writeOne(t, int(m.people.last.Add(1)))
		}
	}
}

// writeOne is a user's whole life.
func (m *mortal) writeOne(t *testing.T, number int) {
	t.Helper()
	email, name, renamed := address(number), fmt.Sprintf("Person Number%d", number), fmt.Sprintf("Other Number%d", number)
	header := m.ask(t, http.MethodPost, "", map[string]string{"email": email, "name": name}, http.StatusCreated, http.StatusConflict)
	id := path.Base(header.Get("Location")) // of a conflict, too: it tells who has the address, and nobody else was given it
	m.ledger.add(id, m.readers(), func(e *fact) { e.Email, e.Name = email, name })
	header = m.ask(t, http.MethodPatch, id, map[string]string{"name": renamed}, http.StatusOK, http.StatusOK)
	if etag := header.Get("ETag"); etag != `"2"` {
		t.Errorf("user %s: was renamed once, and is at %s", id, etag)
	}
	m.ledger.add(id, m.readers(), func(e *fact) { e.Name = renamed })
	if number%3 == 0 {
		m.ask(t, http.MethodDelete, id, nil, http.StatusNoContent, http.StatusNoContent)
		m.ledger.add(id, m.readers(), func(e *fact) { e.deleted = true })
	}
}

// ask writes, again and again until somebody is there to answer. Only a try that was not the first may be answered by
// repeated.
func (m *mortal) ask(t *testing.T, method, id string, body map[string]string, want, repeated int) (header http.Header) {
	t.Helper()
	tries := 0
	eventually(t, deathTime+startTime, func() error {
		code, h, answer, err := m.users.tryWrite(t, method, id, body)
		tries++
		if err != nil {
			return err
		}
		if code != want && (tries == 1 || code != repeated) {
			t.Fatalf("%s %s %v, try %d: %d %s", method, id, body, tries, code, answer)
		}
		header = h
		return nil
	})
	return header
}
