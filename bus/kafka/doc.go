// Package kafka is the bus over Apache Kafka, and over whatever else speaks its protocol, such as the broker of
// bus/embedded. Pass [Backend] to [bus.Open]:
//
//	b, err := bus.Open(ctx, "kafka://one:9092,two:9092?linger=1", kafka.Backend())
//
// It is the only package that links librdkafka, and needs cgo and a C compiler.
//
// # What it promises
//
// Durable: Publish returns once all in-sync replicas have an event. How many those are is the topic's business: for
// a broker that must not lose, replication 3, min.insync.replicas=2 and no unclean election. With acks=1 only the
// leader has it, the bus is neither Durable nor OrderedByKey, for a failure may leave a gap.
//
// OrderedByKey: the producer is idempotent and stops at the first failure that would leave a gap, so that neither
// retries nor failures reorder, double or skip events of a key. What was then not acknowledged is reported, and the
// next call has a new producer. Keys are spread over partitions as by Java's client (murmur2). Adding partitions
// to a topic moves keys, and breaks their order once.
//
// Replayable: topics are made with retention.ms=-1, retention.bytes=-1 and cleanup.policy=delete. One that exists is
// taken as it is; where it differs that is logged, and where it doesn't keep everything the bus is not Replayable.
//
// Groups: Kafka's own, by the newer protocol (KIP-848) where every broker offers it, else classic with
// cooperative-sticky assignment. Which one is logged. A member that was thrown out of its group and is given no
// partition within a minute of a broker's being there leaves, and a new one joins in its place; that is logged too.
// A subscription ends within seconds, also while no broker is there; Close may then wait, up to its context's end, for a
// commit that was on its way when the broker went, which the client gives up after a minute or more.
//
// # Records
//
// A record is a CloudEvent by CloudEvents' binding for Kafka, in one of its two modes. Both are read, side by side on
// one topic; the parameter mode says which is written. An event is the same one in either.
//
//   - structured: one header, content-type application/cloudevents+protobuf, and the whole event in the value. It is
//     the faster one, for each header costs the client time.
//   - binary: the data is the value as it came, content-type says its media type, and every other attribute is a
//     header of its own: ce_id, ce_source, ce_subject and so on, in UTF-8 without any escaping. Programs that know
//     nothing of CloudEvents read the data; those that do need no Protobuf for the rest. No data is an empty value and
//     never a null one, which would be a tombstone. Header names are read in any case. Only an event whose data is
//     a CloudEvent again (a DataType of application/cloudevents…) is written structured here too, and one whose data is
//     called Protobuf and begins with the byte 0.
//
// In binary mode a payload may stand in the frame of a schema registry, so that tools which know payloads by one can read
// it: see [WithSchemaRegistry] for publishers. Readers need neither that nor the registry. Where content-type is
// application/protobuf they take a frame off; no Protobuf message begins with the byte 0, as a frame does. Which type
// the event is of says ce_type, and not the frame.
//
// The record's key is the event's Key, which travels as the attribute subject too. Others may publish without a
// subject: then Key is the record's key, if that is UTF-8. Where the two differ Key is the subject, and how events
// with that subject are ordered is up to how their publisher chose partitions.
//
// Everything else is delivered as an event with Err: a record without content-type and ce_specversion, another version
// of CloudEvents, an attribute that is missing, malformed or there twice with two values, and CloudEvents' other
// formats (application/cloudevents+json) and batches, whose media type Err names. Heartbeats ([bus.Heartbeat]) are passed
// over, for offsets say what they would.
//
// # Delivery
//
// An event is delivered at least once. With Subscription.Resume the reader's own database says where to read on, at
// each assignment, and the offsets that are committed at the broker (each second) are only there to be looked at.
// Without it they are where the next member begins. The client itself never chooses an offset: where the log no
// longer holds the position, OnGap hears of it and Resume is asked again.
//
// While a delivery is handled the next two are read ahead. Before partitions go to another member the delivery in
// hand may finish, for as long as the parameter drain says; then its context ends, and what is left of it is
// delivered again without them. A member that was cut off and doesn't know it yet may handle what another one
// handles already: a reader that must not do so checks its positions in its own transaction, as bus/inbox does.
//
// # Parameters
//
//	acks                all (default) or 1
//	mode                structured (default) or binary: how events are written, see above
//	linger              how long to wait for more events to send together; default 0
//	partitions          of topics that are made; default 12
//	replication         of topics that are made; default is the broker's
//	client.id           default tidings
//	group.protocol      auto (default), consumer or classic
//	max.poll.interval   how long the client may be stuck before the group goes on without it; default 5m
//	drain               how long a delivery in hand may take when it has to end; default 5s
//	security.protocol   plaintext (default), ssl, sasl_plaintext or sasl_ssl
//	ssl.ca.location     file with the certificates to trust; default is the system's
//	sasl.mechanism      SCRAM-SHA-512 (default), SCRAM-SHA-256 or PLAIN
//	sasl.username
//	sasl.password.file  else the environment variable TIDINGS_KAFKA_PASSWORD
//
// And where the program links bus/kafka/schemaregistry, with mode=binary:
//
//	schema_registry                   URL of the registry, or several with commas between; default is none
//	schema_registry.register          true (default) registers schemas; false only looks them up
//	schema_registry.subject           record (default): the type; or topic_record: topic, a hyphen and type
//	schema_registry.username          for basic authentication; default is none
//	schema_registry.password.file     else the environment variable TIDINGS_SCHEMA_REGISTRY_PASSWORD
//	schema_registry.ssl.ca.location   file with the certificates to trust; default is the system's
//
// Durations are like 250ms, or a bare number of milliseconds. The effective settings are logged by Open, at the info
// level.
//
// # Memory
//
// The producer holds 64 MB of events at most, then Publish waits. A subscription holds 32 MB that are fetched and
// not yet read (one fetch may go past it, by up to 16 MB), and three deliveries.
package kafka
