// Package inbox takes events into a service's own database, each exactly once by its effect, and in order by key.
//
// A service says what it does with events by routes, and runs an [Inbox]; see the example for a whole one. There
// are three kinds of handler:
//
//   - A projection keeps the latest state: [On] or [Batch] with [Newest]. It applies whatever is newer than what it
//     has, and counts versions that it never saw; the next event makes it right again.
//   - A history needs every event: [On] or [Batch] with [Every]. It holds later events back until the missing ones
//     have come, or until [Config].GapWait has passed; then a hole is on record, which a late event still fills.
//   - A reaction does something outside of the database, such as a mail: [After]. It is queued once, and performed
//     at least once, in order by key.
//
// # Words
//
// The mark says, for a group and a key of a source, up to which version all is done. Ids of versioned events follow
// from their versions, so the mark tells every duplicate for ever, in one row a key. Events without a version are
// marked by source and id, each by a row of its own. The position says where to read on in a partition. Both stand in
// the service's database, in the transaction that holds the effect. So a database that was emptied, put back to an
// older copy, or cut from power gets exactly what it lacks, and the offsets at the broker don't matter.
//
// An event that a handler refuses for good ([bus.Permanent]), or a record that is no event, is parked: kept with its
// bytes in tidings_inbox_parked, while the rest goes on. Any other error brings the delivery again, in order.
//
// # What happens in which order, and what a crash in between does
//
// A delivery is one transaction. A crash before D8 leaves nothing of it, and it comes again.
//
//	D1 BEGIN
//	D2 positions are read      where the row is further on, events below it are left out; where it is behind, absent
//	                           or of another log, that partition is left out, and read again from its row. On a bus
//	                           without a log: how far each numbering was followed; nothing is left out by it
//	D3 marks are read          and duplicates discarded, of this delivery and of any before
//	D4 effects                 the handlers of On and Batch
//	D5 reactions are queued    with the mark, and so once
//	D6 later events wait       a history's, with their bytes and position
//	D7 marks and positions     marks go forward only, positions and numberings only from where D2 found them
//	D8 COMMIT                  a crash after it: the events may come again, and are duplicates
//	D9 gaps are told           to the log and to Config.OnGap. A crash before it: Status says them all the same
//	D10 the bus is told        the offset at the broker is for lag tools only
//
// A reaction that is queued is performed in two more:
//
//	R1 "sending" and a lease   committed. A crash after it: performed again once the lease has run out, and logged
//	R2 the handler             a crash in it, or right after it: the same; here a thing can happen twice
//	R3 "sent", out of the queue, and what Track stores: committed. A crash after it changes nothing
//
// # A bus without a log
//
// There nothing comes again: an event that was not heard is lost, and so is a delivery that a crash cuts short. What
// can be had is to know it. The relay of bus/outbox numbers the events of each source on each topic 1, 2, 3 …, and
// repeats the highest number while there is nothing to send. The database keeps, for each such numbering, the highest
// number that it has heard of and which of those below have not come: Status.Missed counts them, to the unit.
//
//   - A number counts once the transaction that took its event is committed, whatever becomes of the event: applied,
//     discarded or parked. Numbers never decide what is applied; marks do.
//   - Counting begins with the lowest number of the first delivery, or right behind its lowest heartbeat; what
//     went before was not for this group. A new numbering of a source that the group knows counts from 1, and so does one
//     whose events stand behind another's in the first delivery.
//   - Where the first that was ever heard of a source is number 1, or a heartbeat of before it, and the owner says that
//     the numbering is the source's first ([bus.SeqLogFirst]), each key is expected to begin at version 1. Any other
//     numbering says nothing of that, for its keys may be older than it.
//   - A number that comes late closes its gap. Replicas that share a database miss only what none of them has heard.
//   - Losses in a row are one range, whatever their number. Of more than 10,000 ranges the oldest are kept as a count
//     only: what comes late for one of those stays in it.
//   - Numbers above 2^48 are left out, and so are those without the id of their numbering ([bus.Event].SeqLog).
//
// What follows the last number heard shows with the next event or heartbeat; a numbering that ends first, with its
// owner's database, or because its owner has moved to a log in the midst of sending, takes that knowledge with it. A record that can't be read as an event has no number, and is missed.
//
// # Databases
//
// SQLite, one file a service, whose DSN must have _txlock=immediate, _journal_mode=WAL and _synchronous=FULL; or
// Postgres, with synchronous_commit on as it is by default, which replicas may share. The tables are made by [New], and
// their names begin with tidings_inbox_.
//
// Replicas on one Postgres take in what they are given side by side. D2 and D3 lock the rows that they read: positions,
// numberings, what waits, marks, in this order, and each in the order of its key, so that nobody waits in a circle. Who
// comes second waits before its handlers are called, and goes on from what the first has left. A key that has no mark
// has no row to be locked: there it is found out at D7, and taken back and done again without a word. So a handler may
// meet rows of a replica that is about to be outrun only for a key's first event, on a bus that has neither positions
// nor numbers. The locks of rows that handlers take are theirs to put in order; a deadlock among them costs a second
// and a retry.
//
// A commit whose answer is lost with the connection is a fault of the store: the delivery comes again, and what was
// stored is left out. A reaction whose "sending" was stored so is performed once its lease has run out.
//
// Reactions are leased by the clock of each host. Those may differ by as much as Config.Timeout; beyond that a reaction
// that is being performed may be performed twice. An event may wait longer or shorter than Config.GapWait by as much as
// clocks differ.
//
// A source, key, id or type with a NUL, or of more than 1,024 bytes, is no key of a row on every database. Such an event
// is parked as dead, on all of them.
package inbox
