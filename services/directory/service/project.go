package service

import (
	"context"
	"fmt"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/times"
)

// usersSource is who numbers the versions of users. Nobody else's word changes a person.
const usersSource = "/users"

// The types of the events, as they stand in the envelope.
var (
	typeCreated = string((*eventsv1.UserCreated)(nil).ProtoReflect().Descriptor().FullName())
	typeUpdated = string((*eventsv1.UserUpdated)(nil).ProtoReflect().Descriptor().FullName())
)

// route takes the events of users into the store, a batch at a time.
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
	return inbox.Batch(project, &eventsv1.UserCreated{}, &eventsv1.UserUpdated{}, &eventsv1.UserDeleted{})
}

// personOf returns what became of a user. An event that can't be understood is a permanent error: it is parked, and
// the next event of the user makes good for it.
func personOf(e bus.Event) (store.Person, error) {
	switch e.Type {
	case typeCreated:
		m, err := bus.Decode[*eventsv1.UserCreated](e)
		if err != nil {
			return store.Person{}, err
		}
		return personAt(e, m.GetUser())
	case typeUpdated:
		m, err := bus.Decode[*eventsv1.UserUpdated](e)
		if err != nil {
			return store.Person{}, err
		}
		return personAt(e, m.GetUser())
	default: // the route takes three types
		m, err := bus.Decode[*eventsv1.UserDeleted](e)
		if err != nil {
			return store.Person{}, err
		}
		return store.Person{ID: e.Key, Version: e.Version, Deleted: true}, sameUser(e, m.GetId())
	}
}

// personAt takes id and version from the envelope, which is what the marks go by, and the rest from the message.
func personAt(e bus.Event, u *eventsv1.User) (store.Person, error) {
	return store.Person{
		ID: e.Key, Version: e.Version, Email: u.GetEmail(), Name: u.GetName(),
		CreateTime: times.FromProto(u.GetCreateTime()), UpdateTime: times.FromProto(u.GetUpdateTime()),
	}, sameUser(e, u.GetId())
}

// sameUser refuses an event whose message is about somebody else than its envelope, or about nobody: what it says
// would be stored under the wrong id, and that of the other user lost.
func sameUser(e bus.Event, id string) error {
	if id == e.Key {
		return nil
	}
	return bus.Permanent(fmt.Errorf("directory: event %s: the message is about user %q, and the envelope about %q", e.ID, id, e.Key))
}
