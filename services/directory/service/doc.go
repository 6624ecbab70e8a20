// Package service is the directory: who people are, by id, by address, and by what one remembers of their name.
//
// It is a projection: its own copy of the users, made of nothing but their events, each of which carries the whole
// user. What that means:
//
//   - Only the newest version of a user counts. Of a batch of events the last of each user is stored, with what only those
//     before it tell of; versions that never come are counted and logged, and the next one makes the user right again.
//   - It can be thrown away, where the bus keeps a log: an emptied database reads it from the start and ends with the same
//     content. Where the bus keeps nothing, it knows only those of whom something was told while it listened; how many
//     events it missed it counts exactly.
//   - It is behind the owner, by milliseconds when all is well. GetPerson with min_version waits for what its caller
//     has written; the other reads answer with what is there.
//   - It reads both versions of the events, and has one handler, for v2: what v1 tells is brought up to it. Of twins, the
//     events of both versions for one change, it takes the first and discards the other.
//   - What an event does not tell of (a display name, a locale, a phone number, for a publisher of before 0.2.0) stays as
//     it was; what it tells to be empty becomes so. An order of names that this release has no name for is kept, and
//     served as it came.
//   - The users service alone is believed: an event of another source, though it have a user's type and id, is passed
//     over and counted.
//   - It insists on nothing across users. The event that frees an address and the one that takes it travel on
//     different partitions: for a while two people may hold it, and LookupByEmail gives both, the newest first.
//   - A deleted user leaves an id and a version, no more.
//
// The store (services/directory/internal/store) is written by the inbox's transaction and read by gRPC; neither waits
// for the broker.
package service
