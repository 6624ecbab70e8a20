// Package hostile holds the tests of what is not meant well, or goes on for long: a topic with records of every wrong
// kind between the events of the owner, and one with a million events for a service to read from the start.
//
// What becomes of a record that nobody should have written stands in one table, by service: it is parked as dead, passed
// over, or taken for what it says. Whichever it is, the service goes on, and every event of the owner is applied.
package hostile
