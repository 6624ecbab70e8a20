package userevents_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

var at = timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC))

func ada() *eventsv1.User {
	return &eventsv1.User{
		Id: "ada", Email: "ada@example.org", Name: "Ada Augusta Lovelace", Version: 2, CreateTime: at, UpdateTime: at,
		DisplayName: proto.String("Countess"), Locale: proto.String(""), // no phone: nothing was told of it
	}
}

func adaV2() *eventsv2.User {
	return &eventsv2.User{
		Id: "ada", Email: "ada@example.org", Name: &eventsv2.PersonName{Given: "Ada Augusta", Family: "Lovelace"}, Version: 2,
		CreateTime: at, UpdateTime: at, DisplayName: proto.String("Countess"), Locale: proto.String(""),
	}
}

func equal[M proto.Message](t *testing.T, want, got M, err error) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestWhatV1TellsIsToldInV2(t *testing.T) {
	created, err := userevents.CreatedV2(bus.Event{}, &eventsv1.UserCreated{User: ada()})
	equal(t, &eventsv2.UserCreated{User: adaV2()}, created, err)
	mask := &fieldmaskpb.FieldMask{Paths: []string{"email", "display_name"}}
	updated, err := userevents.UpdatedV2(bus.Event{}, &eventsv1.UserUpdated{User: ada(), UpdateMask: mask})
	equal(t, &eventsv2.UserUpdated{User: adaV2(), UpdateMask: mask}, updated, err)
	deleted, err := userevents.DeletedV2(bus.Event{}, &eventsv1.UserDeleted{Id: "ada", Version: 3, DeleteTime: at})
	equal(t, &eventsv2.UserDeleted{Id: "ada", Version: 3, DeleteTime: at}, deleted, err)
}

// Who reads v2 finds the fault that a reader of v1 finds: an event that is about nobody.
func TestAnEventWithoutAUserStaysOne(t *testing.T) {
	created, err := userevents.CreatedV2(bus.Event{}, &eventsv1.UserCreated{})
	equal(t, &eventsv2.UserCreated{}, created, err)
	updated, err := userevents.UpdatedV2(bus.Event{}, &eventsv1.UserUpdated{})
	equal(t, &eventsv2.UserUpdated{}, updated, err)
	deleted, err := userevents.DeletedV2(bus.Event{}, &eventsv1.UserDeleted{})
	equal(t, &eventsv2.UserDeleted{}, deleted, err)
}

// A field that is added to v1 is to be added to the upcasters as well: every one that is set must change what comes out.
func TestNoFieldOfV1IsForgotten(t *testing.T) {
	empty, err := userevents.UpdatedV2(bus.Event{}, &eventsv1.UserUpdated{User: &eventsv1.User{}})
	if err != nil {
		t.Fatal(err)
	}
	fields := (&eventsv1.User{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		u := &eventsv1.User{}
		u.ProtoReflect().Set(f, someValue(t, u, f))
		got, err := userevents.UpdatedV2(bus.Event{}, &eventsv1.UserUpdated{User: u})
		if err != nil || proto.Equal(empty, got) {
			t.Errorf("%s is lost on the way to v2 (%v): carry it over in services/internal/userevents/upcast.go", f.Name(), err)
		}
	}
	deleted := (&eventsv1.UserDeleted{}).ProtoReflect().Descriptor().Fields()
	for i := range deleted.Len() {
		f := deleted.Get(i)
		m := &eventsv1.UserDeleted{}
		m.ProtoReflect().Set(f, someValue(t, m, f))
		if got, err := userevents.DeletedV2(bus.Event{}, m); err != nil || proto.Equal(&eventsv2.UserDeleted{}, got) {
			t.Errorf("%s is lost on the way to v2 (%v): carry it over in services/internal/userevents/upcast.go", f.Name(), err)
		}
	}
}

// someValue is not the field's zero value.
func someValue(t *testing.T, m proto.Message, f protoreflect.FieldDescriptor) protoreflect.Value {
	t.Helper()
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(7)
	case protoreflect.MessageKind:
		return m.ProtoReflect().NewField(f)
	default:
		t.Fatalf("the test has no value of %s for %s", f.Kind(), f.Name())
		return protoreflect.Value{}
	}
}
