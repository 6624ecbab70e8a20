package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"path"
	"sync"
	"testing"
)

// fact is an event that the owner was made to publish.
type fact struct {
	user         // as it is from then on
	deleted bool // … or isn't
	index   int  // in the order of writing
	heard   map[*service]hearing
}

// by is whether a reader hears of the event. Who is new has not heard what was before, and doesn't know of it.
func (e fact) by(r *service) (h hearing, counted bool) {
	if e.index < r.primary().since {
		return deaf, false
	}
	return e.heard[r.primary()], true
}

// ledger is what was written, in order. It is safe for concurrent use.
type ledger struct {
	mu     sync.Mutex
	events []fact
	last   map[string]int // by user: where its last event is
}

// add writes down an event: change makes it of the user's last one.
func (l *ledger) add(id string, readers []*service, change func(*fact)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var e fact
	if at, known := l.last[id]; known {
		e = l.events[at]
	}
	e.ID, e.index, e.heard = id, len(l.events), map[*service]hearing{}
	e.Version++
	for _, r := range readers {
		e.heard[r] = r.hearing.is()
	}
	change(&e)
	if l.last == nil {
		l.last = map[string]int{}
	}
	l.last[id] = e.index
	l.events = append(l.events, e)
}

// all are the events of each user, in order.
func (l *ledger) all() map[string][]fact {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string][]fact, len(l.last))
	for _, e := range l.events {
		all[e.ID] = append(all[e.ID], e)
	}
	return all
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events)
}

// create makes the users from..to, several at a time, and returns their ids in order.
func (s *stack) create(t *testing.T, from, to int) []string {
	t.Helper()
	ids := make([]string, to-from)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				ids[i-from] = s.createOne(t, address(i), fmt.Sprintf("Person Number%d", i))
			}
		})
	}
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return ids
}

func (s *stack) createOne(t *testing.T, email, name string) (id string) {
	t.Helper()
	code, header, body := s.post(t, map[string]string{"email": email, "name": name})
	if code != http.StatusCreated {
		t.Errorf("POST %s: %d %s", email, code, body)
		return ""
	}
	id = path.Base(header.Get("Location"))
	s.ledger.add(id, s.readers(), func(e *fact) { e.Email, e.Name = email, name })
	return id
}

func (s *stack) rename(t *testing.T, id, name string) {
	t.Helper()
	if code, _, answer := s.users.any().write(t, http.MethodPatch, id, map[string]string{"name": name}); code != http.StatusOK {
		t.Fatalf("PATCH %s: %d %s", id, code, answer)
	}
	s.ledger.add(id, s.readers(), func(e *fact) { e.Name = name })
}

func (s *stack) remove(t *testing.T, id string) {
	t.Helper()
	if code, _, answer := s.users.any().write(t, http.MethodDelete, id, nil); code != http.StatusNoContent {
		t.Fatalf("DELETE %s: %d %s", id, code, answer)
	}
	s.ledger.add(id, s.readers(), func(e *fact) { e.deleted = true })
}

// ownerHas fails the test unless the owner holds what was written.
func (s *stack) ownerHas(t *testing.T, told map[string][]fact) {
	t.Helper()
	want := map[string]user{}
	for id, events := range told {
		if last := events[len(events)-1]; !last.deleted {
			want[id] = last.user
		}
	}
	if got := s.owned(t); !maps.Equal(got, want) {
		t.Fatalf("the owner holds %d users, want %d, as they were written", len(got), len(want))
	}
}
