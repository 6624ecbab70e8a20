package compat_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// olderUpdate is an event as users of 0.1.0 published it: made of messages that have no other fields.
func olderUpdate(t testing.TB, key string, v uint64, name string) bus.Event {
	t.Helper()
	old := older(t)
	u := old.message(t, "users.events.v1.User")
	set(t, u, "id", key)
	set(t, u, "email", "ada@example.com")
	set(t, u, "name", name)
	set(t, u, "version", v)
	m := old.message(t, typeUpdated)
	m.Set(m.Descriptor().Fields().ByName("user"), protoreflect.ValueOfMessage(u))
	return servicetest.Event(t, key, v, m)
}

// directoryOn starts today's directory, which tells of a user as of a version.
func directoryOn(t *testing.T, rec *bustest.Recorder) func(id string, version uint64) *directoryv1.Person {
	t.Helper()
	cfg := directory.Config{Common: servicetest.Common(t, "directory")}
	r := servicetest.Start(t, servicetest.Over(rec), func(env lifecycle.Env) *lifecycle.Runner { return directory.New(cfg, env) })
	api := directoryv1.NewDirectoryServiceClient(r.Conn)
	return func(id string, version uint64) *directoryv1.Person {
		t.Helper()
		resp, err := api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: id, MinVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetPerson()
	}
}

// Absent is not empty: an event of 0.1.0 knows nothing of a display name, and so takes none away.
func TestWhatAnOlderEventKnowsNothingOfStaysAsItWas(t *testing.T) {
	rec := bustest.NewRecorder()
	person := directoryOn(t, rec)
	id := servicetest.NewID()
	user := func(v uint64, display string) *eventsv1.User {
		return &eventsv1.User{Id: id, Email: "ada@example.com", Name: "Ada Lovelace", Version: v,
			DisplayName: proto.String(display), Locale: proto.String("en-GB"), Phone: proto.String("")}
	}
	servicetest.Publish(t, rec, servicetest.Event(t, id, 1, &eventsv1.UserCreated{User: user(1, "Countess")}))
	if p := person(id, 1); p.GetDisplayName() != "Countess" || p.GetLocale() != "en-GB" || p.Phone == nil {
		t.Fatalf("it has %v", p)
	}
	servicetest.Publish(t, rec, olderUpdate(t, id, 2, "Ada King"))
	if p := person(id, 2); p.GetName() != "Ada King" || p.GetDisplayName() != "Countess" || p.GetLocale() != "en-GB" || p.Phone == nil {
		t.Errorf("after an event of 0.1.0 it has %v", p)
	}
	servicetest.Publish(t, rec, servicetest.Event(t, id, 3, &eventsv1.UserUpdated{User: user(3, "")}))
	if p := person(id, 3); p.DisplayName == nil || p.GetDisplayName() != "" || p.GetLocale() != "en-GB" {
		t.Errorf("after one that says there is none it has %v", p)
	}
	// In one transaction: what is absent in the last is that of the one before it.
	id = servicetest.NewID()
	servicetest.Publish(t, rec,
		servicetest.Event(t, id, 1, &eventsv1.UserCreated{User: user(1, "Countess")}), olderUpdate(t, id, 2, "Ada King"), olderUpdate(t, id, 3, "Ada Byron"))
	if p := person(id, 3); p.GetName() != "Ada Byron" || p.GetDisplayName() != "Countess" {
		t.Errorf("of three at once it has %v", p)
	}
}

// A whole history of 0.1.0 alone: there never was a display name, and the directory says that it knows of none.
func TestAHistoryOfOlderEventsIsReadAsItWas(t *testing.T) {
	rec := bustest.NewRecorder()
	person := directoryOn(t, rec)
	id := servicetest.NewID()
	servicetest.Publish(t, rec, olderUpdate(t, id, 1, "Ada Lovelace"), olderUpdate(t, id, 2, "Ada King"))
	p := person(id, 2)
	if p.GetName() != "Ada King" || p.DisplayName != nil || p.Locale != nil || p.Phone != nil {
		t.Errorf("it has %v", p)
	}
}

// An order of names that no release knows is passed on as it came.
func TestTheDirectoryPassesOnAnOrderOfTheFuture(t *testing.T) {
	rec := bustest.NewRecorder()
	person := directoryOn(t, rec)
	id := servicetest.NewID()
	servicetest.Publish(t, rec, servicetest.Event(t, id, 1, &eventsv2.UserCreated{User: &eventsv2.User{
		Id: id, Email: "ilona@example.com", Name: &eventsv2.PersonName{Given: "Ilona", Family: "Nagy", Order: future}, Version: 1,
	}}))
	if p := person(id, 1); p.GetNameOrder() != future || p.GetGivenName() != "Ilona" || p.GetFamilyName() != "Nagy" {
		t.Errorf("it has %v", p)
	}
}
