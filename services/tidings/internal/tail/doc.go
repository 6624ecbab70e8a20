// Package tail prints the events of a topic as they come, for a person or, as JSON, for a program.
//
// It only looks on: it joins no consumer group and makes no topic, so nothing of it stays anywhere. Events of one key
// come in their order. Across keys the order is the one in which partitions were read, which need not be that of time.
//
// # The line for people
//
//	2026-11-23T08:00:00.5Z users.events.v1.UserUpdated 0199… 7 /users {"user":{…}}
//
// Time, type, key, version and source, "-" where there is none, then the payload as JSON. A payload of a type that this
// program does not know is its size and how it begins, in hex; so is a record that is no event, with the reason. Whatever
// has spaces or other than printable characters stands in quotes, with escapes as in Go: nothing of an event reaches the
// terminal as a control character.
//
// # The JSON object
//
// One a line, in the CloudEvents JSON format: specversion, id, source, type, subject, time, datacontenttype, and the
// extension attributes by their names, among them version, sequence, sequencelog and alternatives, all as strings. Then
// the payload:
//
//   - data, where it can be shown as JSON: a message of a type that this program knows, in protobuf's JSON format with
//     the names of the .proto file (an enum's number where the value is not known), for which datacontenttype is
//     application/json here; data that is JSON or text by itself;
//   - else data_base64, the bytes as they came; none where there are none.
//
// And what is not of the event itself, as extension attributes whose names no event of ours has:
//
//   - logtopic, and on a bus with a log logpartition (a number) and logoffset (a string): where it was read;
//   - unknownbytes (a number): how many bytes of the message are in fields that this program does not know, and so are
//     not in data. It is left out where there are none;
//   - dataerror: why a payload of a type that is known is no such message.
//
// A record that is no event is an object without specversion: error says why it is none, key (key_base64 where it is no
// text) and data_base64 hold what came, and logtopic, logpartition and logoffset where.
package tail
