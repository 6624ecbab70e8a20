package userevents_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

func event(t *testing.T, m proto.Message) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/users", "ada", 2, m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestReadReadsEitherVersionAsV2(t *testing.T) {
	created, updated := &eventsv2.UserCreated{User: adaV2()}, &eventsv2.UserUpdated{User: adaV2()}
	deleted := &eventsv2.UserDeleted{Id: "ada", Version: 3, DeleteTime: at}
	for _, c := range []struct{ told, want proto.Message }{
		{&eventsv1.UserCreated{User: ada()}, created},
		{&eventsv1.UserUpdated{User: ada()}, updated},
		{&eventsv1.UserDeleted{Id: "ada", Version: 3, DeleteTime: at}, deleted},
		{created, created}, {updated, updated}, {deleted, deleted},
	} {
		got, err := userevents.Read(event(t, c.told))
		equal(t, c.want, got, err)
	}
}

// A route of All is given nothing that Read can't read; a type that is added to either version is to be added to both.
func TestReadTakesAllTypesThatThereAre(t *testing.T) {
	var all, all2 []string
	for _, m := range userevents.All() {
		all = append(all, string(m.ProtoReflect().Descriptor().FullName()))
		if _, err := userevents.Read(event(t, m)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []protoreflect.FullName{"users.events.v1", "users.events.v2"} {
		protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
			d := m.Descriptor()
			if d.ParentFile().Package() == name && (d.Fields().ByName("user") != nil || d.Fields().ByName("delete_time") != nil) {
				all2 = append(all2, string(d.FullName()))
			}
			return true
		})
	}
	slices.Sort(all)
	slices.Sort(all2)
	if !slices.Equal(all, all2) {
		t.Errorf("Read takes %v, and there are %v", all, all2)
	}
}

func TestWhatReadCannotReadIsNeverTriedAgain(t *testing.T) {
	foreign := event(t, &eventsv1.User{})
	broken := event(t, &eventsv1.UserCreated{})
	broken.Data = []byte("\xff\xff")
	asJSON := event(t, &eventsv2.UserCreated{})
	asJSON.DataType = "application/json"
	for _, e := range []bus.Event{foreign, broken, asJSON} {
		if m, err := userevents.Read(e); m != nil || !bus.IsPermanent(err) {
			t.Errorf("%s: %v, %v; want a permanent error", e.Type, m, err)
		}
	}
}
