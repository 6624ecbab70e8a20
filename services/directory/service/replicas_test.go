package service_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// replicas starts two directories that share a database.
func replicas(t *testing.T, open lifecycle.OpenBus) [2]*running {
	t.Helper()
	servicetest.PostgresOnly(t, "a SQLite file has one process")
	cfg := newConfig(t)
	var both [2]*running
	var all sync.WaitGroup
	for i := range both { // together, as after an outage
		all.Go(func() { both[i] = start(t, cfg, open) })
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return both
}

// A reader who knows a version may ask any replica: most have not applied the event themselves.
func TestEitherReplicaAnswersWithTheVersionThatOneOfThemHasApplied(t *testing.T) {
	rec := bustest.NewRecorder()
	both := replicas(t, servicetest.Over(rec))
	users := make([]*servicetest.User, 20)
	for i := range users {
		users[i] = servicetest.NewUser(fmt.Sprintf("user%d@example.org", i), "Some One")
	}
	var all sync.WaitGroup
	for version := uint64(1); version <= 3; version++ {
		for i, u := range users {
			e := u.Updated(t, u.Email, fmt.Sprint("Version ", version))
			for _, r := range both { // who wait before it is there
				all.Go(func() {
					resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: u.ID, MinVersion: version})
					if err != nil || resp.GetPerson().GetVersion() < version {
						t.Errorf("user %d at version %d: %v (%v)", i, version, resp, err)
					}
				})
			}
			servicetest.Publish(t, rec, e)
		}
		all.Wait()
	}
}

func TestReplicasApplyEveryEventOnceBetweenThem(t *testing.T) {
	const people = 3000
	rec := bustest.NewRecorder()
	both := replicas(t, servicetest.Over(rec))
	events := crowd(t, people)
	for i := 0; i < people; i += 100 {
		servicetest.Publish(t, rec, events[i:i+100]...)
	}
	servicetest.Publish(t, rec, events[:500]...) // again
	for i, r := range both {
		if s := r.at(people); s.Count != people || s.Keys != people {
			t.Errorf("replica %d: status %+v", i, s)
		}
		if names, total := r.names("crowd", 1000); len(names) != people || total != people {
			t.Errorf("replica %d finds %d people of %d", i, len(names), total)
		}
	}
	both[0].Stop()
	late := servicetest.NewUser("late@example.org", "Late")
	servicetest.Publish(t, rec, []bus.Event{late.Created(t)}...)
	both[1].at(people + 1)
	if names, _ := both[1].names("late", 10); len(names) != 1 {
		t.Errorf("the one that is left finds %v", names)
	}
}
