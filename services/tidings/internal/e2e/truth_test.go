package e2e

import (
	"fmt"
	"testing"

	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
)

// lacks is how many of the events that a reader has to count are not in what it shows: between least and most, for of
// what a later event has replaced nobody can see whether it came.
type lacks struct{ least, most int64 }

func (l *lacks) add(other lacks) { l.least, l.most = l.least+other.least, l.most+other.most }

// agrees says how a reader differs from what it was told; nil if it doesn't.
func (s *service) agrees(t *testing.T, told map[string][]fact) error {
	t.Helper()
	if err := s.heardLast(t, told); err != nil {
		return err
	}
	look := map[string]func(*testing.T, map[string][]fact) (lacks, error){
		"directory": s.lacksPeople, "audit": s.lacksHistory, "mailer": s.lacksMessages,
	}[s.name]
	lacks, err := look(t, told)
	if err != nil || s.stack.keeps {
		return err
	}
	if missed := s.inbox(t).Missed; missed < lacks.least || missed > lacks.most {
		return fmt.Errorf("it counts %d events as missed, and %d to %d are not there", missed, lacks.least, lacks.most)
	}
	return nil
}

// heardLast spares the long look at everything while the reader can't know all that it missed. Who is new and was told
// nothing has nothing to know.
func (s *service) heardLast(t *testing.T, told map[string][]fact) error {
	t.Helper()
	if since := s.primary().since; s.stack.keeps || since > 0 && since == s.stack.ledger.len() {
		return nil
	}
	return s.upToDate(t)
}

// sure is what is known of events without a look at the reader: those that it can't have, and those that it may.
func (s *service) sure(events []fact) lacks {
	var l lacks
	for _, e := range events {
		switch h, counted := e.by(s); {
		case !counted || h == hears:
		case h == deaf:
			l.add(lacks{1, 1})
		default:
			l.add(lacks{0, 1})
		}
	}
	return l
}

// lost is for events that the reader has not: it returns an error if it was told one of them.
func (s *service) lost(events ...fact) (lacks, error) {
	var l lacks
	for _, e := range events {
		switch h, counted := e.by(s); {
		case h == hears:
			return l, fmt.Errorf("user %s: version %d was published while it listened, and is not there", e.ID, e.Version)
		case counted:
			l.add(lacks{1, 1})
		}
	}
	return l, nil
}

// has returns an error if the reader can't know of an event that it shows.
func (s *service) has(e fact) error {
	if h, _ := e.by(s); h == deaf {
		return fmt.Errorf("user %s: version %d was published while it was down, and is there", e.ID, e.Version)
	}
	return nil
}

// lacksPeople compares a directory, which keeps the newest of each person.
func (s *service) lacksPeople(t *testing.T, told map[string][]fact) (all lacks, err error) {
	t.Helper()
	people, err := s.people(t)
	if err != nil {
		return all, err
	}
	for id, events := range told {
		got, there := people[id]
		l, err := s.lacksPerson(events, got, there)
		if err != nil {
			return all, fmt.Errorf("has %d people of %d: %w", len(people), len(told), err)
		}
		all.add(l)
		delete(people, id)
	}
	for id := range people {
		return all, fmt.Errorf("has a person %s that nobody wrote", id)
	}
	return all, nil
}

func (s *service) lacksPerson(events []fact, got user, there bool) (lacks, error) {
	if !there {
		return s.lacksAbsent(events)
	}
	if got.Version == 0 || got.Version > uint64(len(events)) {
		return lacks{}, fmt.Errorf("user %s: is %+v, and there are %d versions", got.ID, got, len(events))
	}
	shown := events[got.Version-1]
	if shown.deleted || shown.user != got {
		return lacks{}, fmt.Errorf("user %s: is %+v, want %+v", got.ID, got, shown.user)
	}
	if err := s.has(shown); err != nil {
		return lacks{}, err
	}
	l, err := s.lost(events[got.Version:]...)
	l.add(s.sure(events[:got.Version-1]))
	return l, err
}

// lacksAbsent is for a person who is not there: nothing came, or that the person was deleted.
func (s *service) lacksAbsent(events []fact) (lacks, error) {
	last := events[len(events)-1]
	if h, _ := last.by(s); last.deleted && h != deaf {
		return s.sure(events), nil
	}
	return s.lost(events...)
}

// lacksHistory compares an audit, which keeps every event, and shows what is missing in between.
func (s *service) lacksHistory(t *testing.T, told map[string][]fact) (all lacks, err error) {
	t.Helper()
	for id, events := range told {
		entries, err := s.history(t, id)
		if err != nil {
			return all, err
		}
		l, err := s.lacksEntries(events, entries)
		if err != nil {
			return all, fmt.Errorf("user %s: shows %v: %w", id, entries, err)
		}
		all.add(l)
	}
	return all, nil
}

func (s *service) lacksEntries(events []fact, entries []entry) (all lacks, err error) {
	next := uint64(1) // the version that no entry has told of yet
	for i, e := range entries {
		first := i == 0 && s.primary().since > 0 // of a key that it knows nothing of, in a database that is younger
		switch {
		case e.last > uint64(len(events)) || e.first < next || e.first > next && !first:
			return all, fmt.Errorf("versions %d to %d are no entry", next, e.first)
		case e.hole:
			l, err := s.lost(events[e.first-1 : e.last]...)
			if err != nil {
				return all, err
			}
			all.add(l)
		default:
			if err := s.has(events[e.first-1]); err != nil {
				return all, err
			}
			l, err := s.lost(events[next-1 : e.first-1]...)
			if err != nil {
				return all, err
			}
			all.add(l)
		}
		next = e.last + 1
	}
	if n := len(entries); n > 0 && entries[n-1].hole {
		return all, fmt.Errorf("nothing stands behind the last hole")
	}
	l, err := s.lost(events[next-1:]...)
	all.add(l)
	return all, err
}

// lacksMessages compares a mailer, which mails who was created, once. That a mailer sends what the one before, which was
// killed, had begun takes it a minute, and is shown where the bus keeps everything; elsewhere it is enough here that the
// mail is queued.
func (s *service) lacksMessages(t *testing.T, told map[string][]fact) (all lacks, err error) {
	t.Helper()
	state := mailerv1.Message_STATE_SENT
	if s.primary().killed && !s.stack.keeps {
		state = mailerv1.Message_STATE_UNSPECIFIED // any
	}
	sent, err := s.messages(t, state)
	if err != nil {
		return all, err
	}
	for id, events := range told {
		var l lacks
		switch sent[id] {
		case 0:
			l, err = s.lost(events[0])
		case 1:
			err = s.has(events[0])
		default:
			err = fmt.Errorf("%d mails were sent to user %s, want 1", sent[id], id)
		}
		if err != nil {
			return all, fmt.Errorf("%d users of %d were mailed: %w", len(sent), len(told), err)
		}
		all.add(l)
		all.add(s.sure(events[1:]))
	}
	return all, nil
}
