package service

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/times"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

// usersSource is who numbers the versions of users. Nobody else's word changes a person.
const usersSource = "/users"

// packageV1 is what types begin with that tell a name in one string.
const packageV1 = "users.events.v1."

// route takes the events of users into the store, a batch at a time, in either version.
func route(st *store.Store) inbox.Route {
	project := func(ctx context.Context, tx inbox.Tx, batch []bus.Event) error {
		people := make([]store.Person, len(batch))
		for i, e := range batch {
			var err error
			if people[i], err = personOf(e); err != nil {
				return bus.AtEvent(i, err)
			}
		}
		return st.Apply(ctx, tx, people)
	}
	return inbox.Batch(project, userevents.All()...)
}

// personOf returns what became of a user, by the message of v2: that of v1 is brought up to it. An event that can't be
// understood is a permanent error: it is parked, and the next event of the user makes good for it.
func personOf(e bus.Event) (store.Person, error) {
	m, err := userevents.Read(e)
	if err != nil {
		return store.Person{}, err
	}
	switch m := m.(type) {
	case *eventsv2.UserCreated:
		return personAt(e, m.GetUser())
	case *eventsv2.UserUpdated:
		return personAt(e, m.GetUser())
	case *eventsv2.UserDeleted:
		return store.Person{ID: e.Key, Version: e.Version, Deleted: true}, sameUser(e, m.GetId())
	default:
		return store.Person{}, bus.Permanent(fmt.Errorf("directory: event %s: nothing is known of a %T", e.ID, m))
	}
}

// personAt takes id and version from the envelope, which is what the marks go by, and the rest from the message. What is
// absent there the store keeps as it has it.
func personAt(e bus.Event, u *eventsv2.User) (store.Person, error) {
	if err := sameUser(e, u.GetId()); err != nil {
		return store.Person{}, err
	}
	given, family, order := u.GetName().GetGiven(), u.GetName().GetFamily(), u.GetName().GetOrder()
	return store.Person{
		ID: e.Key, Version: e.Version, Email: u.GetEmail(), Name: userevents.Join(given, family, order),
		CreateTime: times.FromProto(u.GetCreateTime()), UpdateTime: times.FromProto(u.GetUpdateTime()),
		DisplayName: u.DisplayName, Locale: u.Locale, Phone: u.Phone,
		Parts: &store.Parts{Given: given, Family: family, Order: int32(order)}, PartsGuessed: strings.HasPrefix(e.Type, packageV1),
	}, nil
}

// sameUser refuses an event whose message is about somebody else than its envelope, or about nobody: what it says
// would be stored under the wrong id, and that of the other user lost.
func sameUser(e bus.Event, id string) error {
	if id == e.Key {
		return nil
	}
	return bus.Permanent(fmt.Errorf("directory: event %s: the message is about user %q, and the envelope about %q", e.ID, id, e.Key))
}
