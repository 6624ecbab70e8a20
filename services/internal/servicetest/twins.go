package servicetest

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

// API is a version of the events of users.
type API int

// The versions that there are.
const (
	V1 API = 1
	V2 API = 2
)

// MessageV2 is the user as an event of v2 carries it.
func (u *User) MessageV2() *eventsv2.User {
	parts := u.Parts
	if parts == nil {
		given, family := userevents.Split(u.Name)
		parts = &eventsv2.PersonName{Given: given, Family: family}
	}
	m := u.Message()
	return &eventsv2.User{
		Id: m.GetId(), Email: m.GetEmail(), Name: parts, Version: m.GetVersion(),
		CreateTime: m.GetCreateTime(), UpdateTime: m.GetUpdateTime(),
		DisplayName: m.DisplayName, Locale: m.Locale, Phone: m.Phone,
	}
}

// CreatedAs makes the event of the user's next version, as the first one, in each of these versions of the API: twins,
// best first, or one event alone.
func (u *User) CreatedAs(t testing.TB, as ...API) []bus.Event {
	t.Helper()
	u.Version++
	return u.twins(t, as, &eventsv1.UserCreated{User: u.Message()}, &eventsv2.UserCreated{User: u.MessageV2()})
}

// UpdatedAs makes the event of the user's next version, of what the user's fields say, as CreatedAs does.
func (u *User) UpdatedAs(t testing.TB, as ...API) []bus.Event {
	t.Helper()
	u.Version++
	return u.twins(t, as, &eventsv1.UserUpdated{User: u.Message()}, &eventsv2.UserUpdated{User: u.MessageV2()})
}

// DeletedAs makes the event of the user's next version, as the last one, as CreatedAs does.
func (u *User) DeletedAs(t testing.TB, as ...API) []bus.Event {
	t.Helper()
	u.Version++
	return u.twins(t, as, &eventsv1.UserDeleted{Id: u.ID, Version: u.Version}, &eventsv2.UserDeleted{Id: u.ID, Version: u.Version})
}

func (u *User) twins(t testing.TB, as []API, v1, v2 proto.Message) []bus.Event {
	t.Helper()
	messages := make([]proto.Message, len(as))
	for i, version := range as {
		messages[i] = map[API]proto.Message{V1: v1, V2: v2}[version]
	}
	events, err := bus.NewTwins("/users", u.ID, u.Version, messages...)
	if err != nil {
		t.Fatal(err)
	}
	return events
}
