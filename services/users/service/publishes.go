package service

import (
	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// Publishes returns the types of the events that the users service tells of changes by.
func Publishes() []string {
	var types []string
	for _, m := range []proto.Message{&eventsv1.UserCreated{}, &eventsv1.UserUpdated{}, &eventsv1.UserDeleted{}} {
		types = append(types, string(m.ProtoReflect().Descriptor().FullName()))
	}
	return types
}
