package store

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// Source is who numbers the versions of users, in every event: the service, never a host.
const Source = "/users"

// created is the first event of a user's history.
func created(u User) (bus.Event, error) {
	return event(u, u.CreateTime, &eventsv1.UserCreated{User: eventUser(u)})
}

// updated tells of a change; mask names the fields that have another value than before.
func updated(u User, mask []string) (bus.Event, error) {
	return event(u, u.UpdateTime, &eventsv1.UserUpdated{User: eventUser(u), UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}})
}

// deleted is the last event of a user's history. It tells nothing of who it was.
func deleted(u User) (bus.Event, error) {
	return event(u, u.DeleteTime, &eventsv1.UserDeleted{Id: u.ID, Version: u.Version, DeleteTime: timestamppb.New(u.DeleteTime)})
}

// event makes the event that says m of u at its version. Its time is the change's, not that of its making.
func event(u User, at time.Time, m proto.Message) (bus.Event, error) {
	e, err := bus.NewEvent(Source, u.ID, u.Version, m)
	e.Time = at
	return e, err
}

// eventUser is u as events have it. It looks like User.Proto today; the two messages are versioned apart.
func eventUser(u User) *eventsv1.User {
	return &eventsv1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Version: u.Version,
		CreateTime: timestamppb.New(u.CreateTime), UpdateTime: timestamppb.New(u.UpdateTime),
	}
}
