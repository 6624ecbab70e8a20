// Package service is the mailer: it welcomes each new user by one mail.
//
// It is a reaction: what it does, a mail, lies outside of any database and can't be rolled back. What that means:
//
//   - Queued once, sent at least once. The event that says that a user was created is queued in the transaction of its
//     mark, so one that is delivered again queues nothing. The mail is sent after the commit; only where the process
//     is killed, or cut off from its database, between the sending and the note of it, or where the server's answer
//     comes too late or never, can it go out twice, and then with the same Message-ID. Too late is later than
//     ?timeout=, and at an orderly stop later than 5 s.
//   - A mail is as of its event. It goes to the address that the user had then, and goes out even if the user is
//     deleted before it: the mailer keeps no state of users to look that up in.
//   - Old events mail nobody. A new mailer reads the log from its start, and does not welcome a million people who have
//     been there for years: what is older than --mail-max-age is recorded as skipped.
//   - What it never hears it never does. On a bus that keeps nothing, who was created while it was down gets no mail, and
//     nothing later tells it so; it counts how many events it missed.
//   - That a user was changed or deleted is known and causes no mail.
//   - A creation is one mail, in whichever version of the events it is told, and however many twins tell of it: the mark
//     discards all but the first. The Message-ID, and the name of the file in the mailbox, are those that the v1 event
//     has given the mail since the first release, whichever twin has caused it: so a mail that goes out twice after all
//     (above; or because the database was lost, or another release has taken it over) is the same mail to who gets it.
//     GetMessage takes the id of the event that was taken, which of twins is v2's.
//   - It greets people by their display name, and by their name where they have none.
//
// Replicas share a Postgres. Each event is queued by one of them, and each mail is one's to send, whichever is free: it
// is claimed before by a row that the others pass over, and left to them once its lease, twice what a mail may take, has
// run out. There the mailbox folder has to be named, by --mailbox, and may be each replica's own.
//
// Mail goes through the small interface [Sender]: to a mailbox folder, a file <id>.eml each, as in the Message-ID, or
// with --smtp to a mail server. Of a server's refusals:
//
//   - 4xx, no connection, no answer in time: the mail is tried again, in growing steps of 1 s to 10 min, for about a day
//     (160 attempts), and then is dead. --mail-max-age skips only what was never tried.
//   - 5xx that is surely about this recipient or this mail, and an address that is none: dead at once.
//   - What is about us and would meet every mail (password, TLS, MAIL FROM, relaying and other policy), or may be: as
//     4xx. Put right what is wrong and start the mailer anew; the mails that wait go out.
//
// The server's words stand in Message.last_error. A mail whose answer was lost, with the connection or with the mailer
// itself, is sent again under the same Message-ID. One connection serves all mails, one after another, and is closed
// when there have been none for five seconds. As many mails are sent at once as there are connections: with a server
// that is far away, or slow to answer, more of them (?connections=8) are faster.
package service
