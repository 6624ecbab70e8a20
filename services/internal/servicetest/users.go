package servicetest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// Event makes an event of the users service: v is the version of the user whose id is key.
func Event(t testing.TB, key string, v uint64, m proto.Message) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/users", key, v, m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// NewID makes an id like those of the users service.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// User is somebody whom a test tells of. Raise Version for a change that nobody is told of.
type User struct {
	ID, Email, Name string
	Version         uint64 // of the last event made; 0 before the first

	DisplayName, Locale, Phone *string              // nil: events don't tell of it, as those of before 0.2.0
	Parts                      *eventsv2.PersonName // as v2 tells it; nil: Name is split
}

// NewUser is somebody new, of whom no event has been made.
func NewUser(email, name string) *User { return &User{ID: NewID(), Email: email, Name: name} }

// Began returns the time at which all users of tests were created.
func Began() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// Message is the user as an event carries it; a version more is an hour later.
func (u *User) Message() *eventsv1.User {
	return &eventsv1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Version: u.Version,
		CreateTime: timestamppb.New(Began()), UpdateTime: timestamppb.New(Began().Add(time.Duration(u.Version-1) * time.Hour)),
		DisplayName: u.DisplayName, Locale: u.Locale, Phone: u.Phone,
	}
}

// Created makes the event of the user's next version, as the first one.
func (u *User) Created(t testing.TB) bus.Event {
	t.Helper()
	u.Version++
	return Event(t, u.ID, u.Version, &eventsv1.UserCreated{User: u.Message()})
}

// Updated makes the event of the user's next version, with this address and name.
func (u *User) Updated(t testing.TB, email, name string) bus.Event {
	t.Helper()
	u.Version++
	u.Email, u.Name = email, name
	return Event(t, u.ID, u.Version, &eventsv1.UserUpdated{User: u.Message()})
}

// Deleted makes the event of the user's next version, as the last one.
func (u *User) Deleted(t testing.TB) bus.Event {
	t.Helper()
	u.Version++
	return Event(t, u.ID, u.Version, &eventsv1.UserDeleted{Id: u.ID, Version: u.Version})
}
