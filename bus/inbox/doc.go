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
// # What fails
//
// A fault of the store (the database is away, busy, full; a commit is in doubt; a context has ended), whoever returns it,
// is waited out: the delivery comes again, in order, and Config.OnReady hears false meanwhile. It never parks anything.
//
// Any other error of a handler, or its panic, is poison: the event at fault is found, by its name ([bus.AtEvent]) or by
// halving, with 2·log2(n) calls for one among n, and is parked: kept in tidings_inbox_parked with its bytes, the error,
// how often it was tried and when it is tried next. The rest of the delivery goes on, and so does every other key. What
// is parked is tried again after 1 s, 2 s, 4 s … 10 min, each give or take a half, or after [bus.RetryAfter]'s delay, and
// is dead once Config.Attempts are spent, or at once by [bus.Permanent]. A dead event stays until a person retries or
// discards it: see [Parking].
//
//   - In a history the key's later events wait behind the parked one, in order, in the same table, and follow it when it
//     succeeds. A dead one still holds up its key, and nothing else. Events without a version are kept in the order of
//     their key in the same way, in a projection, too.
//   - In a projection the next version of the key is tried when it comes. It makes up for the parked one if it succeeds,
//     and takes its place, with all attempts before it, if it fails.
//   - A reaction waits in its queue, with the key's later ones behind it. A dead one is parked and blocks nothing; brought
//     back, it takes its old place.
//   - An event of a source that Config.Sources doesn't name is passed over and counted, whatever else is wrong with it.
//   - A record that is no event, or has an attribute that no row can have for its key, is dead at once, by its record's
//     key and position, and blocks nothing. One of a type that no route takes is parked where Config.Unknown says so,
//     and blocks nothing.
//
// A deferred constraint that an event has broken parks that event on Postgres. On SQLite nothing but COMMIT looks at it,
// which names no event: there it holds up the delivery until it is mended, so let handlers have none.
//
// A bad release must not park a whole topic. Once events of more than 100 keys were parked within a minute, and over half
// of the new events of that time have failed, nothing more is taken in which anything fails: the delivery comes again,
// with the bus's backoff, and Config.OnReady hears false, until one succeeds. What was parked before goes on being tried.
//
// A mark moves over what is parked, for it will not come again by itself; [Inbox.Await] tells it as [Parked].
//
// # Types that follow one another
//
// A message that changes so that old readers can't read it has a new type. Its publisher tells a change by the old and the
// new for a while: by twins, events of one key and version, each of which names the types of all ([bus.NewTwins]). On
// this side:
//
//   - The first twin that comes and can be read is taken; publishers send the best first. Its mark makes duplicates of
//     the others, which Status.Duplicates counts, also where it is parked, waits, or is queued.
//   - A twin that can't be read (no route, no upcaster, no [Any]) while another could be is passed over: no mark, no
//     row, no count, and to the versions it is as if it had never come. Its position is read past, and on a bus without
//     a log its number is heard. An event whose publisher names no type that can be read is done as Config.Unknown says.
//   - [Upcast] takes events of the old type to the handlers of the new one, so that there is one handler for a log of
//     both. What is stored, be it parked, waiting or queued, is the event as it came, and is converted whenever it is
//     handled; so an upcaster may be mended, too.
//   - What is stored may have been read by another release only, before an upgrade or after it was taken back. As its
//     twins were discarded, it is kept: what waited is parked, what is parked says so in its error and is looked at
//     again each minute, without spending an attempt, and what is queued stays in the queue. The key's later events wait
//     as they do behind any other; of a projection the next version makes up for it.
//
// So a service moves on in any order and at any moment, also between the twins, as long as each release reads what the
// one before it read: one that reads the new type needs the upcaster for as long as the log, or the database, holds
// events of the old type alone, or may be upgraded from a release that read only the old one. Without it, versions whose
// first twin the old release has passed over are passed over again: they are missing like any that never came, and a
// [Rebuild] or a [Rewind] brings them back, for the log still holds them.
//
// # What happens in which order, and what a crash in between does
//
// A delivery is one transaction. A crash up to D8a leaves nothing of it, and it comes again.
//
//	D0a the start is fixed     where to read on is asked for: of what has no position yet, the first one is written
//	D0b … and committed        a crash after it: the same answer at the next start, whatever the log holds by then
//	D1  BEGIN
//	D2  positions are read     where the row is further on, events below it are left out; where it is behind, absent
//	                           or of another log, that partition is left out, and read again from its row. On a bus
//	                           without a log: how far each numbering was followed; nothing is left out by it
//	D3  marks are read         and duplicates discarded, of this delivery and of any before; then which of the keys
//	                           have something parked
//	D4a effects                the handlers of On and Batch. After an error all is rolled back and begun again at D1, and
//	                           this time each part that is tried has a savepoint, until what is at fault is found
//	D4b it is parked           with what waits behind it; its mark moves on like any other's
//	D5  reactions are queued   with the mark, and so once
//	D6  later events wait      a history's, with their bytes and position
//	D7a marks                  they go forward only
//	D7b positions              only from where D2 found them
//	D7c numberings             likewise
//	D8a counters               COMMIT is about to be sent
//	D8b COMMIT                 a crash after it: the events may come again, and are duplicates
//	D9  gaps are told          to the log and to Config.OnGap. A crash before it: Status says them all the same
//	D10a the bus is told       that the delivery is done, and is about to tell the broker its offset
//	D10b the broker is told    which is for lag tools only: a crash before it changes nothing
//
// A reaction that is queued is performed in two more:
//
//	R1a "sending" and a lease  a crash before COMMIT leaves it queued
//	R1b … committed            a crash after it: performed again once the lease has run out, and logged
//	R2  the handler            a crash in it, or right after it: the same; here a thing can happen twice
//	R3a "sent"                 out of the queue, with what Track stores; a crash before COMMIT: as at R2
//	R3b … committed            a crash after it changes nothing
//
// What is parked is tried again, each key by itself. Rows that are due are looked up in the table at least once a second:
// what another process has changed is found so. Rows only behind others of their key are not among them. A try is one
// transaction; a crash up to P3a leaves the row as it was, due as it was, and the try is not counted:
//
//	P1  the key is locked      by its mark, or by the row where it has no version. One that another has is left to it for a
//	                           tenth of a second (SKIP LOCKED). The row is read again: another replica may have tried it
//	                           meanwhile. Of a projection, one whose mark has moved on goes away, and nothing else is done
//	P2  the handlers           in a savepoint, like those of D4a: of the event and, if it succeeds, of those behind it, in
//	                           order, as far as they succeed, MaxBatch at most. A fault of the store ends the transaction
//	                           here, and the row is left alone for 5 s
//	P3a what became of them    who succeeded is removed, and its reactions are queued. The first that didn't has one attempt
//	                           more, another time and the new error, or is dead; it is the one in front now, and the rest
//	                           waits behind it. COMMIT is about to be sent
//	P3b COMMIT                 a crash after it changes nothing
//
// Then those are woken who wait: Await, and those who perform reactions. Both look by themselves, too.
//
// Each row of these tables is a crash point of bus/internal/crashpoint: a test kills a reader right after it, and looks at
// what is said here.
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
// numberings, what waits, marks, the fronts of what is parked, in this order, and each in the order of its key, so that
// nobody waits in a circle. A retry locks one key, in the same order. Who
// comes second waits before its handlers are called, and goes on from what the first has left. A key that has no mark
// has no row to be locked: there it is found out at D7a, and taken back and done again without a word. So a handler may
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
//
// # Mending by hand
//
// [Rewind] puts positions back, and [Rebuild] empties a projection and has its log read from the start, in the database
// of a service that may be running. D2 finds that out at the next delivery of a partition; where none comes, Run looks
// at the rows each second, and begins its subscription again.
package inbox
