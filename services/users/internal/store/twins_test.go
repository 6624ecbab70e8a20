package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

const (
	unsaid      = usersv1.NameOrder_NAME_ORDER_UNSPECIFIED
	givenFirst  = usersv1.NameOrder_NAME_ORDER_GIVEN_FIRST
	familyFirst = usersv1.NameOrder_NAME_ORDER_FAMILY_FIRST
)

// tells opens a store that tells of changes in these versions.
func tells(t *testing.T, dsn string, versions ...store.API) *fixture {
	t.Helper()
	return openOn(t, dsn, func(cfg *store.Config) { cfg.Events = versions })
}

// step is a change, the name that it leaves, and what the events say to have changed.
type step struct {
	about  string
	c      store.Change
	name   string
	parts  store.Parts
	v1, v2 string
}

// steps are changes of somebody who was made as [full]. None of them changes nothing.
func steps() []step {
	parts := func(given, family string, order usersv1.NameOrder) store.Parts {
		return store.Parts{Given: given, Family: family, Order: order}
	}
	p1, p2, p3, p4 := parts("Ilona", "Nagy", givenFirst), parts("Nagy", "Ilona", givenFirst), parts("Nagy", "Ilona", unsaid), parts("Ilona", "", familyFirst)
	return []step{
		{"the order of the name", store.Change{Parts: &p1}, "Ilona Nagy", p1, "name", "name"},
		{"the parts and the order, and the name stays", store.Change{Parts: &store.Parts{Given: "Nagy", Family: "Ilona", Order: familyFirst}}, "Ilona Nagy", parts("Nagy", "Ilona", familyFirst), "", "name"},
		{"the order, and so the name", store.Change{Parts: &p2}, "Nagy Ilona", p2, "name", "name"},
		{"that the order is not said", store.Change{Parts: &p3}, "Nagy Ilona", p3, "", "name"},
		{"a name in one string", store.Change{Name: ptr("Ada  Augusta King")}, "Ada  Augusta King", parts("Ada  Augusta", "King", unsaid), "name", "name"},
		{"other parts of the same name", store.Change{Parts: &store.Parts{Given: "Ada ", Family: "Augusta King"}}, "Ada  Augusta King", parts("Ada ", "Augusta King", unsaid), "", "name"},
		{"a name of one part", store.Change{Parts: &p4}, "Ilona", p4, "name", "name"},
		{"a family name alone", store.Change{Parts: &store.Parts{Family: "Nagy"}}, "Nagy", parts("", "Nagy", unsaid), "name", "name"},
		{"everything", store.Change{Email: ptr("b@example.org"), Name: ptr("B"), DisplayName: ptr("Bé"), Locale: ptr("de"), Phone: ptr("+41443643232")}, "B", parts("B", "", unsaid), "email,name,display_name,locale,phone", "email,name,display_name,locale,phone"},
		{"that there is no number any more", store.Change{Phone: ptr("")}, "B", parts("B", "", unsaid), "phone", "phone"},
		{"that nothing more is known", store.Change{DisplayName: ptr(""), Locale: ptr("")}, "B", parts("B", "", unsaid), "display_name,locale", "display_name,locale"},
	}
}

func TestTheEventsOfAChangeSayWhatTheRowSaysInEachVersion(t *testing.T) {
	for _, versions := range [][]store.API{nil, {store.V1}, {store.V2, store.V1}, {store.V2}} {
		t.Run(fmt.Sprint(versions), func(t *testing.T) {
			f := open(t, func(cfg *store.Config) { cfg.Events = versions })
			u, err := f.Create(t.Context(), full("ilona@example.org"))
			if err != nil {
				t.Fatal(err)
			}
			states := []store.User{f.row(u.ID)}
			masks := []step{{about: "creation"}}
			for _, s := range steps() {
				got := f.changed(u.ID, s.c)
				if row := f.row(u.ID); row != got || got.Name != s.name || got.NameParts() != s.parts || got.Version != states[len(states)-1].Version+1 {
					t.Errorf("%s: answered %+v, stored %+v; want the name %q, %+v", s.about, got, row, s.name, s.parts)
				}
				states, masks = append(states, got), append(masks, s)
			}
			if _, err := f.Delete(t.Context(), u.ID, nil); err != nil {
				t.Fatal(err)
			}
			if len(versions) == 0 {
				versions = []store.API{store.V1}
			}
			checkTold(t, f.published(), versions, append(states, f.row(u.ID)), masks)
		})
	}
}

// checkTold compares all events of a user with its rows, of each version the one that it was then.
func checkTold(t *testing.T, events []bus.Event, versions []store.API, states []store.User, masks []step) {
	t.Helper()
	if len(events) != len(states)*len(versions) {
		t.Fatalf("%d events of %d changes in %v", len(events), len(states), versions)
	}
	for i, u := range states {
		twins := events[i*len(versions):][:len(versions)]
		var want []string
		for j, e := range twins {
			m := wanted(versions[j], u, masks[min(i, len(masks)-1)])
			want = append(want, string(m.ProtoReflect().Descriptor().FullName()))
			got := m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(e.Data, got); err != nil || e.Type != want[j] {
				t.Fatalf("version %d, event %d is a %s, want %s: %v", u.Version, j, e.Type, want[j], err)
			}
			if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
				t.Errorf("version %d in %s (-want +got):\n%s", u.Version, versions[j], diff)
			}
			at := u.UpdateTime
			if e.Source != "/users" || e.Key != u.ID || e.Version != u.Version || !e.Time.Equal(at) || j > 0 && e.ID == twins[0].ID {
				t.Errorf("version %d in %s is %+v, want it at %v", u.Version, versions[j], e, at)
			}
		}
		if len(want) == 1 {
			want = nil // nobody names itself alone
		}
		for _, e := range twins {
			if _, there := e.Ext["alternatives"]; !slices.Equal(e.Alternatives(), want) || there != (want != nil) {
				t.Errorf("version %d: a %s names %v, want %v", u.Version, e.Type, e.Alternatives(), want)
			}
		}
	}
}

// wanted is the message of a version that says that u came to be by s; of version 1, that it was created.
func wanted(v store.API, u store.User, s step) proto.Message {
	mask := func(of string) *fieldmaskpb.FieldMask {
		if of == "" {
			return &fieldmaskpb.FieldMask{}
		}
		return &fieldmaskpb.FieldMask{Paths: strings.Split(of, ",")}
	}
	one := &eventsv1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Version: u.Version, CreateTime: timestamppb.New(u.CreateTime), UpdateTime: timestamppb.New(u.UpdateTime),
		DisplayName: &u.DisplayName, Locale: &u.Locale, Phone: &u.Phone,
	}
	two := &eventsv2.User{
		Id: u.ID, Email: u.Email, Version: u.Version, CreateTime: one.CreateTime, UpdateTime: one.UpdateTime,
		Name:        &eventsv2.PersonName{Given: u.NameParts().Given, Family: u.NameParts().Family, Order: eventsv2.NameOrder(u.NameParts().Order)},
		DisplayName: &u.DisplayName, Locale: &u.Locale, Phone: &u.Phone,
	}
	at := timestamppb.New(u.DeleteTime)
	switch {
	case u.Deleted() && v == store.V1:
		return &eventsv1.UserDeleted{Id: u.ID, Version: u.Version, DeleteTime: at}
	case u.Deleted():
		return &eventsv2.UserDeleted{Id: u.ID, Version: u.Version, DeleteTime: at}
	case u.Version == 1 && v == store.V1:
		return &eventsv1.UserCreated{User: one}
	case u.Version == 1:
		return &eventsv2.UserCreated{User: two}
	case v == store.V1:
		return &eventsv1.UserUpdated{User: one, UpdateMask: mask(s.v1)}
	}
	return &eventsv2.UserUpdated{User: two, UpdateMask: mask(s.v2)}
}

// A team moves its readers one by one: v1 is told, then both, then v2 alone, of one database and its users.
func TestTheVersionsThatAreToldMayChangeAtEveryStart(t *testing.T) {
	dsn := servicetest.DSN(t, "users")
	var id string
	var want []string
	write := func(versions ...store.API) {
		f := tells(t, dsn, versions...)
		kind := "UserUpdated"
		if id == "" {
			id, kind = f.created("ada@example.org", "Ada Lovelace").ID, "UserCreated"
		} else {
			f.changed(id, store.Change{Name: ptr(fmt.Sprint("Ada ", len(want)))})
		}
		for _, v := range versions {
			want = append(want, fmt.Sprintf("users.events.%s.%s of %d", v, kind, f.row(id).Version))
		}
		if versions[0] == store.V2 && len(versions) == 1 {
			var got []string
			for _, e := range f.published() { // of all starts: the ones before have sent nothing
				got = append(got, fmt.Sprintf("%s of %d", e.Type, e.Version))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		if err := f.db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(store.V1)
	write(store.V2, store.V1)
	write(store.V1) // back, for a reader wasn't ready
	write(store.V2, store.V1)
	write(store.V2)
}

func TestANameThatStaysKeepsItsParts(t *testing.T) {
	f := open(t, nil)
	u, err := f.Create(t.Context(), full("ilona@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	plain := f.created("ada@example.org", "Ada Lovelace")
	for about, same := range map[string]store.User{
		"the name alone, as it is": f.changed(u.ID, store.Change{Name: ptr("Nagy Ilona")}),
		"the parts as they are":    f.changed(u.ID, store.Change{Parts: &u.Parts}),
		"what is there already":    f.changed(u.ID, store.Change{Phone: &u.Phone, Locale: &u.Locale, DisplayName: &u.DisplayName}),
	} {
		if same != u {
			t.Errorf("%s: %+v became %+v", about, u, same)
		}
	}
	// What the name splits into is what everybody has been told already.
	if same := f.changed(plain.ID, store.Change{Parts: &store.Parts{Given: "Ada", Family: "Lovelace"}}); same != plain {
		t.Errorf("%+v became %+v", plain, same)
	}
	mail := f.changed(u.ID, store.Change{Name: ptr("Nagy Ilona"), Email: ptr("new@example.org")})
	if mail.Version != 2 || mail.Parts != u.Parts {
		t.Errorf("with another address %+v became %+v", u, mail)
	}
	if n := len(f.published()); n != 3 {
		t.Errorf("%d events, want 3: what changes nothing is told to nobody", n)
	}
}

func TestAVersionThatThereIsNotIsRefused(t *testing.T) {
	f := open(t, nil)
	if _, err := store.New(t.Context(), store.Config{DB: f.db, Outbox: f.outbox, Topic: topic, Events: []store.API{"v3"}}); err == nil || !strings.Contains(err.Error(), `"v3"`) {
		t.Errorf("New answers %v", err)
	}
}

// The numbers are stored, and go from one enum to the other.
func TestTheOrdersOfNamesHaveTheSameNumbersInTheAPIAndInTheEvents(t *testing.T) {
	if diff := cmp.Diff(usersv1.NameOrder_name, eventsv2.NameOrder_name); diff != "" {
		t.Error(diff)
	}
}
