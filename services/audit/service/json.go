package service

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tidings-dev/tidings/bus"
	// The types that this release knows: linking them makes them known to the registry.
	_ "github.com/tidings-dev/tidings/gen/users/events/v1"
	_ "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/audit/internal/store"
)

// toJSON returns an event's data as protobuf's JSON; "" where this release doesn't know the type, or the bytes are no
// such message.
func toJSON(e *store.Event) string {
	if e.DataType != "" && e.DataType != bus.TypeProtobuf {
		return ""
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(e.Type))
	if err != nil {
		return ""
	}
	m := t.New().Interface()
	if err := proto.Unmarshal(e.Data, m); err != nil {
		return ""
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		return ""
	}
	return string(b)
}
