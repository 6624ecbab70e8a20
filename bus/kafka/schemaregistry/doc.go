// Package schemaregistry lets the bus over Kafka publish for tools that know payloads by a Confluent Schema Registry,
// or by one with the same API: connectors, ksqlDB, user interfaces, consumers with Confluent's deserializers. Pass [New]
// to the backend, and name the registry in the address:
//
//	b, err := bus.Open(ctx, "kafka://one:9092?mode=binary&schema_registry=http://registry:8081",
//		kafka.Backend(kafka.WithSchemaRegistry(schemaregistry.New)))
//
// It is a package of its own because the registry's client, which is that of confluent-kafka-go, links the SDK of a
// cloud for one of its ways to log in. Only publishers need it: readers take a frame off without asking anybody, and
// without this package.
//
// # What is registered
//
// Before the first event of a type the schema of the type is registered, or looked up, and its id is kept for as long as
// the bus lives. The schema is the .proto file that the type's generated code was made of, without comments, as
// Confluent's serializer for Go writes it, so that both mean the same schema. Its imports are registered before, each
// under its own path as the subject, and the schema refers to them; those under google/protobuf, google/type and
// confluent are known to every registry.
//
// The subject is the type's full name (RecordNameStrategy), for a topic holds events of many types, each of which may
// have versions of its own, and a type is the same one in every topic. With schema_registry.subject=topic_record the
// topic stands before it (TopicRecordNameStrategy): "user_activity-users.events.v1.UserCreated". The registry's usual
// strategy has one subject a topic, and so can't hold two types.
//
// An event whose type has no generated code in the program can't be published: its schema is not known.
//
// # What the registry may refuse
//
// The registry compares with what the subject has, by the compatibility that was set there. A schema that it refuses, as
// one of a subject that the user may not write, is an error of Publish, permanent ([bus.IsPermanent]), which says what the registry said; it concerns the events of that
// type and what follows them in their keys. An outbox holds those keys, asks again now and then, and goes on once the
// registry takes the schema. With schema_registry.register=false nothing is ever registered by a program, and a
// schema that is not there is such an error, too.
//
// A registry that is away is waited for like a broker, by the first event of a type; types that were published before
// need it no more.
package schemaregistry
