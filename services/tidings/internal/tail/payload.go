package tail

import (
	"bytes"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tidings-dev/tidings/bus"
	_ "github.com/tidings-dev/tidings/gen/users/events/v1" // the types that are known: of every version
	_ "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// payload is what is in an event, as far as it can be read.
type payload struct {
	json    []byte // compact and escaped; nil where it can't be shown as JSON
	unknown int    // bytes in fields that this program does not know, and that are not in json
	err     error  // why data of a type that is known is none
}

func payloadOf(e *bus.Event) payload {
	if isProto(e) {
		return messagePayload(e)
	}
	media, _, err := mime.ParseMediaType(e.DataType)
	switch {
	case err != nil || len(e.Data) == 0:
	case (media == "application/json" || strings.HasSuffix(media, "+json")) && json.Valid(e.Data):
		return payload{json: compact(e.Data)}
	case strings.HasPrefix(media, "text/") && utf8.Valid(e.Data):
		return payload{json: escaped(quoted(string(e.Data)))}
	}
	return payload{}
}

// isProto reports whether an event's data is said to be a protobuf message.
func isProto(e *bus.Event) bool { return e.DataType == "" || e.DataType == bus.TypeProtobuf }

func messagePayload(e *bus.Event) payload {
	known, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(e.Type))
	if err != nil {
		return payload{}
	}
	m := known.New()
	if err := proto.Unmarshal(e.Data, m.Interface()); err != nil {
		return payload{err: err}
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Interface())
	if err != nil {
		return payload{err: err}
	}
	return payload{json: compact(text), unknown: unknownBytes(m)}
}

// compact takes out white space, which protojson changes from build to build.
func compact(text []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return escaped(text)
	}
	return escaped(b.Bytes())
}

// unknownBytes counts what is in fields of m, and of the messages in it, that their types don't have.
func unknownBytes(m protoreflect.Message) int {
	n := len(m.GetUnknown())
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap() && field.MapValue().Message() != nil:
			value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				n += unknownBytes(v.Message())
				return true
			})
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				n += unknownBytes(value.List().Get(i).Message())
			}
		default:
			n += unknownBytes(value.Message())
		}
		return true
	})
	return n
}
