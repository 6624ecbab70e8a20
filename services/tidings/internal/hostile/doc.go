// Package hostile holds the tests of what is not meant well, or goes on for long: a topic with records of every wrong
// kind between the events of the owner, and one with a million events for a service to read from the start.
//
// What becomes of a record that nobody should have written stands in one table, by service: it is parked as dead, passed
// over, or taken for what it says. Whichever it is, the service goes on, and every event of the owner is applied.
//
// # Memory
//
// A service that reads a log from its start stays below 256 MB of resident memory, whatever the log's length and the
// size of its events. The Kafka client holds 32 MB of events that are not asked for yet, and one fetch of 16 MB more; up
// to four deliveries of 8 MB each are in the making, or at hand; the rest is the garbage collector's room, the pages of
// the database, and the program. Nothing in a service's memory grows with events, keys or sources: what it knows of
// those is in its database.
//
// The tests replay 40,000 events, and 350 of 900 kB; -replay 1000000 makes it a million.
package hostile
