package service

import (
	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// Publishes returns the types of the events that the users service can tell of changes by, best first.
func Publishes() []string { return typesOf(known()) }

// types are those by which changes are told as e has it.
func (e Events) types() []string {
	if versions := e.orDefault(); versions != nil {
		return typesOf(versions)
	}
	return typesOf([]store.API{store.V1})
}

// typesOf are the types of the events of these versions.
func typesOf(versions []store.API) (types []string) {
	for _, v := range versions {
		all := []proto.Message{&eventsv1.UserCreated{}, &eventsv1.UserUpdated{}, &eventsv1.UserDeleted{}}
		if v == store.V2 {
			all = []proto.Message{&eventsv2.UserCreated{}, &eventsv2.UserUpdated{}, &eventsv2.UserDeleted{}}
		}
		for _, m := range all {
			types = append(types, string(m.ProtoReflect().Descriptor().FullName()))
		}
	}
	return types
}
