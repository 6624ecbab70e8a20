package service_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestEventsMakePeople(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada, alan := servicetest.NewUser("ada@example.org", "Ada Byron"), servicetest.NewUser("alan@example.org", "Alan Turing")
	servicetest.Publish(t, rec, ada.Created(t), alan.Created(t), ada.Updated(t, "ada@example.org", "Ada Lovelace"), alan.Deleted(t))
	s := r.at(4)
	if s.Count != 1 || s.Keys != 2 || s.Missing+s.Parked+s.Dead != 0 {
		t.Errorf("status %+v", s)
	}
	got, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: ada.ID})
	if err != nil {
		t.Fatal(err)
	}
	want := &directoryv1.GetPersonResponse{Person: &directoryv1.Person{
		Id: ada.ID, Email: "ada@example.org", Name: "Ada Lovelace", Version: 2,
		CreateTime: timestamppb.New(servicetest.Began()), UpdateTime: timestamppb.New(servicetest.Began().Add(time.Hour)),
		GivenName: new("Ada"), FamilyName: new("Lovelace"),
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if names, total := r.names("a", 50); !slices.Equal(names, []string{"Ada Lovelace"}) || total != 1 {
		t.Errorf("found %q of %d", names, total)
	}
}

func TestRedeliveredEventsChangeNothing(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada := servicetest.NewUser("ada@example.org", "Ada")
	first := ada.Created(t)
	servicetest.Publish(t, rec, first, ada.Updated(t, "ada@example.com", "Ada Lovelace"))
	r.at(2)
	servicetest.Publish(t, rec, first, first)
	r.CaughtUp()
	if s := r.at(2); s.Count != 1 || r.holders("ada@example.org") != "" {
		t.Errorf("status %+v; the old address is held by %q", s, r.holders("ada@example.org"))
	}
}

func TestAFreedAddressIsFoundInWhicheverOrderTheEventsArrive(t *testing.T) {
	for _, order := range []string{"freed first", "taken first"} {
		t.Run(order, func(t *testing.T) {
			rec := bustest.NewRecorder()
			r := start(t, newConfig(t), servicetest.Over(rec))
			ada, alan := servicetest.NewUser("one@example.org", "Ada"), servicetest.NewUser("alan@example.org", "Alan")
			servicetest.Publish(t, rec, ada.Created(t), alan.Created(t))
			frees := ada.Updated(t, "ada@example.org", "Ada")
			alan.Version++ // a change of the name, which nobody tells of: his claim is the newest there is
			takes := alan.Updated(t, "ONE@example.org", "Alan")
			if order == "freed first" {
				servicetest.Publish(t, rec, frees, takes)
			} else {
				servicetest.Publish(t, rec, takes)
				r.CaughtUp()
				if got := r.holders("one@example.org"); got != "Alan, Ada" {
					t.Errorf("meanwhile held by %q, want both, the newest first", got)
				}
				servicetest.Publish(t, rec, frees)
			}
			r.CaughtUp()
			if got := r.holders("one@example.org"); got != "Alan" {
				t.Errorf("held by %q", got)
			}
		})
	}
}

// allOf reads everybody of a crowd, whose addresses begin with "user".
func (r *running) allOf(query string) []*directoryv1.Person {
	r.t.Helper()
	var all []*directoryv1.Person
	req := &directoryv1.SearchPeopleRequest{Query: query, PageSize: 300}
	for {
		resp, err := r.api.SearchPeople(r.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, resp.GetPeople()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			slices.SortFunc(all, func(a, b *directoryv1.Person) int { return strings.Compare(a.GetId(), b.GetId()) })
			return all
		}
	}
}

func TestAnEmptiedDatabaseFillsWithTheSameContent(t *testing.T) {
	rec := bustest.NewRecorder()
	cfg := newConfig(t)
	r := start(t, cfg, servicetest.Over(rec))
	servicetest.Publish(t, rec, crowd(t, 2500)...)
	for i := range 50 {
		u := servicetest.NewUser("user.of.old@example.org", "Old Name")
		events := []bus.Event{u.Created(t), u.Updated(t, "user.renamed@example.org", "New Name")}
		if i%2 == 0 {
			events = append(events, u.Deleted(t))
		}
		servicetest.Publish(t, rec, events...)
	}
	const versions = 2500 + 25*2 + 25*3
	r.at(versions)
	want := r.allOf("user")
	r.Stop()
	servicetest.RemoveDatabase(t, cfg.DB)
	r = start(t, cfg, servicetest.Over(rec))
	if s := r.at(versions); s.Count != 2525 || len(want) != 2525 {
		t.Errorf("%d people before, %d after, want 2525", len(want), s.Count)
	}
	if diff := cmp.Diff(want, r.allOf("user"), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestAStoppedDirectoryCatchesUp(t *testing.T) {
	rec := bustest.NewRecorder()
	cfg := newConfig(t)
	r := start(t, cfg, servicetest.Over(rec))
	servicetest.Publish(t, rec, crowd(t, 100)...)
	r.CaughtUp()
	r.Stop()
	servicetest.Publish(t, rec, crowd(t, 3000)...)
	r = start(t, cfg, servicetest.Over(rec))
	if s := r.CaughtUp(); s.Count != 3100 || s.Missing != 0 {
		t.Errorf("status %+v", s)
	}
}

// What can't be understood is parked, the others' events go on, and the next event of that user makes it right.
func TestRubbishEventsHarmNobodyElse(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada, alan := servicetest.NewUser("ada@example.org", "Ada"), servicetest.NewUser("alan@example.org", "Alan")
	joan := servicetest.NewUser("joan@example.org", "Joan")
	broken := ada.Created(t)
	broken.Data = []byte("\xff\xff\xff")
	empty := servicetest.Event(t, alan.ID, 1, &eventsv1.UserCreated{})
	alan.Version++
	other := servicetest.Event(t, joan.ID, 1, &eventsv1.UserDeleted{Id: ada.ID})
	joan.Version++
	unknown := servicetest.NewUser("new@example.org", "New").Created(t)
	unknown.Type = "users.events.v9.UserMerged"
	json := servicetest.NewUser("json@example.org", "Json").Created(t)
	json.DataType, json.Data = "application/json", []byte(`{}`)
	servicetest.Publish(t, rec, append([]bus.Event{broken, empty, other, unknown, json}, crowd(t, 20)...)...)
	rec.PutRaw(servicetest.Topic, "key", []byte("this is no event"))
	if s := r.CaughtUp(); s.Count != 20 || s.Dead != 5 {
		t.Errorf("status %+v, want 20 people and 5 dead events", s)
	}
	servicetest.Publish(t, rec, ada.Updated(t, "ada@example.org", "Ada Lovelace"), alan.Updated(t, "alan@example.org", "Alan Turing"))
	r.CaughtUp()
	if got := r.holders("ada@example.org") + ", " + r.holders("alan@example.org"); got != "Ada Lovelace, Alan Turing" {
		t.Errorf("found %q", got)
	}
}

// A hole in a user's history is counted, and the newest version is right all the same.
func TestMissingVersionsAreCountedAndPassedOver(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada := servicetest.NewUser("ada@example.org", "Ada")
	servicetest.Publish(t, rec, ada.Created(t))
	ada.Version += 3
	servicetest.Publish(t, rec, ada.Updated(t, "ada@example.org", "Ada Lovelace"))
	if s := r.CaughtUp(); s.Missing != 3 || r.holders("ada@example.org") != "Ada Lovelace" {
		t.Errorf("status %+v; held by %q", s, r.holders("ada@example.org"))
	}
}
