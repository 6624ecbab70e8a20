package schemadoc

import (
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/announce"
)

// Place is where the platform's events go unless it is told otherwise.
type Place struct {
	Topic string
	Kafka string // host:port
	Redis string // host:port
}

// Document is an AsyncAPI document.
type Document struct{ tree object }

// JSON is the document in JSON, as one who has no YAML wants it. It ends with a line's end.
func (d Document) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(d.tree, "", "  ")
	return append(b, '\n'), err
}

// YAML is the document as it is kept in the repository.
func (d Document) YAML() []byte { return []byte(generated + yamlOf(d.tree)) }

const generated = "# What the events of Tidings are, for tools of AsyncAPI. Made from the .proto files: run .ci/generate, and don't edit it.\n"

// AsyncAPI makes the AsyncAPI 3.0 document of today's events: one channel, a message for each type, and what each service
// sends and receives. It is the same each time that it is made of the same contracts and declarations.
func (c *Contracts) AsyncAPI(declared []Declared, at Place) Document {
	events := c.Today.EventTypes()
	return Document{object{
		{"asyncapi", "3.0.0"},
		{"info", object{
			{"title", "Tidings"},
			{"version", c.Newest().Name},
			{"description", "What the users service tells of users, and who listens. The version is that of the newest release; " +
				"what was added since is in here too."},
			{"license", object{{"name", "Apache-2.0"}}},
		}},
		{"defaultContentType", bus.TypeProtobuf},
		{"servers", servers(at)},
		{"channels", object{{at.Topic, channel(events, at)}}},
		{"operations", operations(events, declared, at.Topic)},
		{"components", object{
			{"messages", c.Today.messagesOf(events)},
			{"schemas", c.Today.allSchemas(events)},
		}},
	}}
}

func servers(at Place) object {
	return object{
		{"kafka", object{
			{"host", at.Kafka}, {"protocol", "kafka"},
			{"description", "Keeps every event for ever, in order of the users' ids. This is where `tidings up` has it."},
		}},
		{"redis", object{
			{"host", at.Redis}, {"protocol", "redis"}, {"pathname", "/0"},
			{"description", "PubSub: keeps nothing, and numbers its events instead, so that what was missed is known. " +
				"This is where `tidings up --bus redis` has it."},
		}},
	}
}

func ref(path ...string) object { return object{{"$ref", "#/" + strings.Join(path, "/")}} }

// channel is the topic. Its messages are named by their types.
func channel(events []protoreflect.MessageDescriptor, at Place) object {
	messages := object{}
	for _, m := range events {
		name := string(m.FullName())
		messages = append(messages, member{name, ref("components", "messages", name)})
	}
	return object{
		{"address", at.Topic},
		{"title", "What becomes of users"},
		{"description", "A topic of Kafka, or a channel of Redis PubSub. A change may be told in several versions, by twins: events of " +
			"one source, subject and version, each of which names all types in the attribute alternatives, best first."},
		{"messages", messages},
		{"servers", list{ref("servers", "kafka"), ref("servers", "redis")}},
		{"bindings", object{{"kafka", object{
			{"topic", at.Topic},
			{"topicConfiguration", object{{"cleanup.policy", list{"delete"}}, {"retention.ms", -1}, {"retention.bytes", -1}}},
			{"bindingVersion", "0.5.0"},
		}}}},
	}
}

// operations are what services do, in order of service.
func operations(events []protoreflect.MessageDescriptor, declared []Declared, topic string) object {
	all := object{}
	for _, d := range declared {
		action, summary := "receive", "What "+d.Service+" reads."
		if d.Role == announce.Publishes {
			action, summary = "send", "What "+d.Service+" tells."
		}
		if slices.Contains(d.Types, announce.AnyType) {
			summary = "All that is told: " + d.Service + " reads whatever type comes, be it unknown here."
		}
		operation := object{{"action", action}, {"channel", ref("channels", topic)}, {"summary", summary}}
		messages := list{}
		for _, m := range events {
			if d.covers(string(m.FullName())) {
				messages = append(messages, ref("channels", topic, "messages", string(m.FullName())))
			}
		}
		all = append(all, member{d.Service + "." + action, append(operation, member{"messages", messages})})
	}
	return all
}

// schemaFormat says what payloads are described in: AsyncAPI's own, which is JSON Schema. On the wire they are Protobuf.
const schemaFormat = "application/vnd.aai.asyncapi+yaml;version=3.0.0"

func (s *State) messagesOf(events []protoreflect.MessageDescriptor) object {
	messages := object{}
	for _, m := range events {
		name, comment := string(m.FullName()), s.comments(m)
		summary, _, _ := strings.Cut(comment, "\n")
		messages = append(messages, member{name, object{
			{"name", name},
			{"title", string(m.Name()) + " " + string(m.ParentFile().Package().Name())},
			{"summary", summary},
			{"description", comment},
			{"contentType", bus.TypeProtobuf},
			{"headers", object{{"allOf", list{
				ref("components", "schemas", envelope),
				object{{"type", "object"}, {"properties", object{{"ce_type", object{{"const", name}}}}}},
			}}}},
			{"payload", object{
				{"schemaFormat", schemaFormat},
				{"schema", schemaRef(m.FullName())},
			}},
			{"bindings", object{{"kafka", object{
				{"key", object{{"type", "string"}, {"format", "uuid"}, {"description", "The id of the user, as in ce_subject."}}},
				{"bindingVersion", "0.5.0"},
			}}}},
			{"x-protobuf", object{{"message", name}, {"file", m.ParentFile().Path()}}},
		}})
	}
	return messages
}

func (s *State) allSchemas(events []protoreflect.MessageDescriptor) object {
	all := object{{envelope, envelopeSchema()}}
	for _, m := range events {
		all = s.schemasOf(all, m)
	}
	return all
}

// envelope is the name of the schema of an event's attributes.
const envelope = "CloudEvent"

// envelopeSchema is what an event has beside its payload.
func envelopeSchema() object {
	attribute := func(description string, more ...member) object {
		return append(object{{"type", "string"}, {"description", description}}, more...)
	}
	return object{
		{"title", "Attributes of a CloudEvent 1.0"},
		{"description", "In binary mode (Kafka) each is a header of the record, as it is named here. In structured mode (Kafka's default here, and " +
			"always on Redis) the record is a whole io.cloudevents.v1.CloudEvent, of the content type application/cloudevents+protobuf, " +
			"that has the attributes without ce_ and the payload as proto_data."},
		{"type", "object"},
		{"required", list{"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject"}},
		{"properties", object{
			{"content-type", attribute("Of the payload.", member{"const", bus.TypeProtobuf})},
			{"ce_specversion", attribute("Of CloudEvents.", member{"const", "1.0"})},
			{"ce_id", attribute("The same for the same fact: a UUIDv5 of source, type, subject and version.", member{"format", "uuid"})},
			{"ce_source", attribute("Who numbers the versions; /users.")},
			{"ce_type", attribute("The full name of the message in the payload.")},
			{"ce_subject", attribute("What it is about: the id of the user.")},
			{"ce_time", attribute("When it became true.", member{"format", "date-time"})},
			{"ce_version", attribute("Its place in the history of (source, subject): 1, 2, 3 …, with no gaps.", member{"pattern", "^[1-9][0-9]*$"})},
			{"ce_alternatives", attribute("Where a change is told by several events, the types of all, best first, with commas between. " +
				"Take the first that you can read, and discard the others.")},
			{"ce_sequence", attribute("On a bus that keeps no log: the event's number, of all of its source.", member{"pattern", "^[1-9][0-9]*$"})},
			{"ce_sequencelog", attribute("Which numbering ce_sequence is of.")},
			{"ce_dataschema", attribute("The type URL of the payload.")},
			{"ce_traceparent", attribute("W3C trace context, where there is one.")},
		}},
	}
}
