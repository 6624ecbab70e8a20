package store

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// Source is who numbers the versions of users, in every event: the service, never a host.
const Source = "/users"

// API is a version of the events: of the package that their messages are in.
type API string

// The versions, the oldest first.
const (
	V1 API = "v1" // users.events.v1
	V2 API = "v2" // users.events.v2, where a name comes in parts
)

// teller makes the events of changes, in the versions that it was told, best first.
type teller []API

// newTeller makes the teller of versions, which [Config] says more of.
func newTeller(versions []API) (teller, error) {
	if len(versions) == 0 {
		return teller{V1}, nil
	}
	for _, v := range versions {
		if v != V1 && v != V2 {
			return nil, fmt.Errorf("store: there are no events of version %q", v)
		}
	}
	return versions, nil
}

// created makes the first events of a user's history.
func (t teller) created(u User) ([]bus.Event, error) {
	return t.twins(u, u.CreateTime, func(v API) proto.Message {
		if v == V2 {
			return &eventsv2.UserCreated{User: userV2(u)}
		}
		return &eventsv1.UserCreated{User: userV1(u)}
	})
}

// updated makes the events of a change from before to after.
func (t teller) updated(before, after User) ([]bus.Event, error) {
	v1, v2 := differences(before.Profile, after.Profile)
	return t.twins(after, after.UpdateTime, func(v API) proto.Message {
		if v == V2 {
			return &eventsv2.UserUpdated{User: userV2(after), UpdateMask: &fieldmaskpb.FieldMask{Paths: v2}}
		}
		return &eventsv1.UserUpdated{User: userV1(after), UpdateMask: &fieldmaskpb.FieldMask{Paths: v1}}
	})
}

// deleted makes the last events of a user's history. They tell nothing of who it was.
func (t teller) deleted(u User) ([]bus.Event, error) {
	at := timestamppb.New(u.DeleteTime)
	return t.twins(u, u.DeleteTime, func(v API) proto.Message {
		if v == V2 {
			return &eventsv2.UserDeleted{Id: u.ID, Version: u.Version, DeleteTime: at}
		}
		return &eventsv1.UserDeleted{Id: u.ID, Version: u.Version, DeleteTime: at}
	})
}

// twins makes an event of each version that is told, of the message that in makes for it: all say the same of u at its
// version, and a reader takes the best that it can read. Their time is the change's, not that of their making.
func (t teller) twins(u User, at time.Time, in func(API) proto.Message) ([]bus.Event, error) {
	messages := make([]proto.Message, len(t))
	for i, v := range t {
		messages[i] = in(v)
	}
	events, err := bus.NewTwins(Source, u.ID, u.Version, messages...)
	for i := range events {
		events[i].Time = at
	}
	return events, err
}

// userV1 is u as users.events.v1 has it. The three that are optional are always there: absent would say that nothing is
// known of them here, and readers would keep what they have.
func userV1(u User) *eventsv1.User {
	return &eventsv1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Version: u.Version,
		CreateTime: timestamppb.New(u.CreateTime), UpdateTime: timestamppb.New(u.UpdateTime),
		DisplayName: &u.DisplayName, Locale: &u.Locale, Phone: &u.Phone,
	}
}

// userV2 is u as users.events.v2 has it.
func userV2(u User) *eventsv2.User {
	name := u.NameParts()
	return &eventsv2.User{
		Id: u.ID, Email: u.Email, Version: u.Version,
		Name:       &eventsv2.PersonName{Given: name.Given, Family: name.Family, Order: eventsv2.NameOrder(name.Order)},
		CreateTime: timestamppb.New(u.CreateTime), UpdateTime: timestamppb.New(u.UpdateTime),
		DisplayName: &u.DisplayName, Locale: &u.Locale, Phone: &u.Phone,
	}
}
