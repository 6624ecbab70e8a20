// Package service is the users service, the owner of users: the one place where they are created, changed and
// deleted. Others learn of it by its events and never ask; it depends on nobody, and takes writes with the broker up
// or down.
//
// Users are written over HTTP (package door), read over gRPC (users.v1.UserService), and kept in the service's own
// database (package store). A write goes this way:
//
//	request ─ checked ─ one transaction: the user's row (version n) + the event in the outbox ─ commit ─ answer
//	                                      woken at commit ─ relay ─ bus ─ acknowledged ─ marked as sent
//
// What an owner has to keep to, so that those who follow its events are right:
//
//   - It gives each user's versions out itself, under the lock of the row: 1, 2, 3 …, no gaps. Order comes from
//     there, never from a clock.
//   - The change and its event are one transaction. Publishing beside it would lose the event in a crash, or tell of
//     a change that was rolled back.
//   - It answers on its own commit. Whether the event has been published is not the client's affair.
//   - Each event carries the whole user, so that who missed one is right again after the next.
//   - While readers move from one version of the events' API to the next, a change is told in both ([Events]): two events
//     of one version of the user, the better one first, in the same transaction. Each reader takes one.
//   - On a bus that keeps nothing each event gets a number, and the last one is repeated, so that whoever missed some
//     can count them; how many nobody at all was listening to is counted here.
//   - A deleted user leaves a tombstone for ever: an id and its versions are never used again, and who asks for the
//     state of everything can be told of deletions too.
//   - Its history must not go back. A log heals its readers; nothing heals an owner whose database was put back to an
//     older copy, for it then gives out versions a second time, for other changes.
//
// The uniqueness of addresses holds here only. A reader sees one user change after another, and two of them hold one
// address for a moment.
package service
