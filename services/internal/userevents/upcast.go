package userevents

import (
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// CreatedV2 is the upcaster of users.events.v1.UserCreated: with it a service has one handler, for v2, and takes v1 too.
// It never fails. What v1 does not tell of is absent in the result, or UNSPECIFIED, and what this release does not know of
// it is dropped: who has to keep that keeps e.Data. The result shares memory with m.
func CreatedV2(_ bus.Event, m *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
	return &eventsv2.UserCreated{User: userV2(m.GetUser())}, nil
}

// UpdatedV2 is the upcaster of users.events.v1.UserUpdated: see [CreatedV2]. The mask is v1's, which has the same names.
func UpdatedV2(_ bus.Event, m *eventsv1.UserUpdated) (*eventsv2.UserUpdated, error) {
	return &eventsv2.UserUpdated{User: userV2(m.GetUser()), UpdateMask: m.GetUpdateMask()}, nil
}

// DeletedV2 is the upcaster of users.events.v1.UserDeleted: see [CreatedV2].
func DeletedV2(_ bus.Event, m *eventsv1.UserDeleted) (*eventsv2.UserDeleted, error) {
	return &eventsv2.UserDeleted{Id: m.GetId(), Version: m.GetVersion(), DeleteTime: m.GetDeleteTime()}, nil
}

// userV2 is a user as v2 has it; nil for an event without one, which stays at fault in v2 too.
func userV2(u *eventsv1.User) *eventsv2.User {
	if u == nil {
		return nil
	}
	given, family := Split(u.GetName())
	return &eventsv2.User{
		Id: u.GetId(), Email: u.GetEmail(), Name: &eventsv2.PersonName{Given: given, Family: family}, Version: u.GetVersion(),
		CreateTime: u.GetCreateTime(), UpdateTime: u.GetUpdateTime(),
		DisplayName: u.DisplayName, Locale: u.Locale, Phone: u.Phone, // as pointers: absent stays absent
	}
}
