package e2e

import (
	"net/http"
	"sync"
	"testing"
)

// A service that was down gets everything where the bus keeps it. Elsewhere it gets nothing of it, ever, and says to the
// unit how much that is, by what the owner tells of itself when nothing follows.
func TestAServiceThatWasDownCatchesUp(t *testing.T) {
	onDatabases(t, func(t *testing.T, w wire) {
		s := newStack(t, w)
		ids := s.create(t, 0, 50)
		s.agree(t)
		for _, r := range s.readers() {
			r.stop(t)
		}
		s.create(t, 50, 250)
		s.rename(t, ids[0], "Renamed")
		s.rename(t, ids[0], "Renamed Again")
		s.remove(t, ids[1])
		s.published(t)
		if o := s.outbox(t); o.Unheard != int64(w.loses(203)) {
			t.Errorf("the owner says that nobody heard %d events, want %d", o.Unheard, w.loses(203))
		}
		for _, r := range s.readers() {
			r.start(t)
		}
		s.agree(t)
		for _, r := range s.readers() {
			r.hasMissed(t, w.loses(203))
		}
		s.rename(t, ids[0], "Renamed a Last Time") // a directory has the newest again, a history a hole before it
		s.create(t, 250, 260)
		s.agree(t)
		people, err := s.directory.people(t)
		if err != nil || people[ids[0]].Version != 4 || len(people) != 259-w.loses(200)+w.loses(1) {
			t.Errorf("%d people, and the renamed one is %+v: %v", len(people), people[ids[0]], err)
		}
	})
}

// Who is new, or has nothing left, gets everything that there ever was, where the bus keeps it. Elsewhere it gets nothing
// of that, and all that is written from then on; of what was before it knows nothing, so it misses nothing.
func TestANewServiceAndOneWhoseDatabaseWasDeletedGetEverything(t *testing.T) {
	onDatabases(t, func(t *testing.T, w wire) {
		s := newStack(t, w)
		ids := s.create(t, 0, 100)
		s.remove(t, ids[7])
		s.agree(t)

		second := s.service(t, "directory", s.users.topic)
		second.keepIn("second")
		second.isNew()
		second.start(t)
		s.agreeOn(t, second)

		for _, r := range s.readers() {
			r.stop(t)
			r.forget(t)
			r.start(t)
			s.agreeOn(t, r)
		}
		s.create(t, 100, 120)
		s.agree(t)
		s.agreeOn(t, second) // two databases are two groups: neither takes from the other
		for _, r := range append(s.readers(), second) {
			r.hasMissed(t, 0)
		}
		people, err := second.people(t)
		if want := 119 - w.loses(99); err != nil || len(people) != want {
			t.Errorf("the new directory has %d people, want %d: %v", len(people), want, err)
		}
	})
}

// Killed under load, nothing is missing where the bus keeps it. Elsewhere what came while a reader was away is missing,
// and each counts exactly what it lacks.
func TestAServiceThatIsKilledUnderLoadMissesNothing(t *testing.T) {
	onDatabases(t, func(t *testing.T, w wire) {
		s := newStack(t, w)
		s.doubt()
		var load sync.WaitGroup
		load.Go(func() { s.create(t, 0, 400) })
		for range 2 {
			for _, r := range s.readers() {
				r.kill()
				r.start(t)
			}
		}
		load.Wait()
		s.agree(t)
	})
}

// What was acknowledged is published, by the process after if need be. Whoever listens all the time loses nothing even
// where the bus keeps nothing, and nothing is done twice.
func TestTheOwnerThatIsKilledPublishesWhatItHasAcknowledged(t *testing.T) {
	onDatabases(t, func(t *testing.T, w wire) {
		s := newStack(t, w)
		for round := range 3 {
			s.create(t, round*50, round*50+50)
			s.users.kill()
			s.users.start(t)
		}
		s.agree(t)
		for _, r := range s.readers() {
			r.hasMissed(t, 0)
		}
	})
}

// The article's third question: the broker is gone, everything else is started again meanwhile, and the events arrive
// when it is back. Where the bus keeps nothing they are told to who has found it by then; the others count them.
func TestEventsArriveWhenTheBrokerIsBack(t *testing.T) {
	onServers(t, func(t *testing.T, b server) {
		s := newStack(t, b.wire())
		s.create(t, 0, 30)
		s.agree(t)
		s.kill(t, b)
		s.create(t, 30, 60)
		for _, one := range s.all() {
			one.restart(t)
		}
		ids := s.create(t, 60, 90)
		s.remove(t, ids[0])
		for _, one := range s.all() {
			one.answers(t)
		}
		if o := s.outbox(t); o.Pending != 61 {
			t.Errorf("the outbox holds %d events while the broker is away, want 61", o.Pending)
		}
		s.back(t, b)
		s.published(t)
		s.agree(t)
		s.create(t, 90, 95)
		s.agree(t)
	})
}

// A client can't tell an answer that was lost from a request that was: a retry finds what it made.
func TestARetriedCreateFindsWhatItMade(t *testing.T) {
	onEmbedded(t, func(t *testing.T, b *embeddedServer) {
		s := emptyStack(t, b.wire())
		s.users.start(t)
		id := s.createOne(t, address(1), "Ada")
		s.users.kill()
		s.users.start(t)
		code, header, body := s.users.write(t, http.MethodPost, "", map[string]string{"email": address(1), "name": "Ada"})
		if want := "/v1/users/" + id; code != http.StatusConflict || header.Get("Location") != want {
			t.Errorf("POST again: %d, Location %q, %s; want 409 and %s", code, header.Get("Location"), body, want)
		}
	})
}
