// Package outbox publishes what an owner's database has committed, no less and nothing else.
//
// The service that owns a kind of thing stores each event in the same transaction as the change that it tells of; a
// relay publishes from there. So there is no event of a change that was rolled back, no change without its event, and
// no write that waits for a broker:
//
//	err := ob.InTx(ctx, func(ctx context.Context, tx outbox.Tx) error {
//		var v uint64
//		err := tx.QueryRowContext(ctx, `UPDATE users SET name = $1, version = version + 1 WHERE id = $2
//			RETURNING version`, name, id).Scan(&v)
//		if err != nil {
//			return err
//		}
//		e, err := bus.NewEvent("/users", id, v, &eventsv1.UserUpdated{ … })
//		if err != nil {
//			return err
//		}
//		return ob.Add(ctx, tx, "user_activity", e)
//	})
//
// One goroutine of the process runs [Outbox.Relay] for as long as the process lives; replicas may all run it.
//
// # What is guaranteed
//
// Every event of a committed transaction is published at least once, and none of any other transaction. The first
// time, events of one key and topic are published in the order in which they were added, provided that they were
// added under a lock of that key. An event may be published again, with the same id and version; after a later event
// of its key, too. Consumers discard repeats by the version, as bus/inbox does.
//
// Published is not received: a bus without a log keeps nothing for those who don't listen. What the relay does
// there so that nobody misses an event without knowing is told under "Numbers".
//
// # Steps, and a crash between them
//
//	1a  changes and event stand in a transaction   nothing is stored, nothing is published
//	1b  COMMIT is about to be sent                  nothing is stored, of all who share it
//	2a  COMMIT is answered                          all is stored; the caller does not know, and asks again
//	2b  the relay is woken                          the same; of those who share a commit some have been told
//	3a  a relay has the lease                       the next one waits until it has run out
//	3b  it has read a batch                         the next relay finds the events when it starts
//	4a  numbered, where the bus has no log          they have no number; the next relay gives them one
//	4b  the numbers are committed                   the next relay publishes them, with the same numbers
//	5a  the client has an event to be sent          published or not, and published again by the next relay
//	6a  the broker has acknowledged one             published, of its batch perhaps alone; all again by the next relay
//	6b  Publish has returned                        published, and published again by the next relay
//	7a  marked as sent, with log, partition, offset the same
//	7b  the mark is committed                       published; it is not read again
//	8a  purged after [WithKeep]                     event, number and mark are still there
//	8b  the purge is committed                      they are gone together; the next relay purges what is left
//	9a  a heartbeat is published (see "Numbers")    the next relay tells of the number when it begins to lead
//
// The right column says what holds when the process dies after the step, and before the next. 1b and 2a are those of
// every transaction here, the relay's too. A batch is published and marked as one, so as many as 5,000 events, or twice
// that with those being marked, can come twice.
//
// These are the crash points of bus/internal/crashpoint: a test kills an owner at each, and looks at what is said here.
//
// A relay that is killed leaves its lease behind, so the next one waits for three seconds at most; one that ends with
// its context gives it back. A relay that was paused for longer than its lease and goes on beside its successor can
// only repeat. Waiting is by the clock of each process and by the row not changing, so clocks need not agree; where
// those of two hosts differ by more than a minute, a lease may be taken over early, which repeats, once.
//
// On Postgres the connection may break between COMMIT and its answer, behind 1b as behind 4a and 7a: [ErrInDoubt] says what an
// owner does; the relay does the step again, and finds what is stored.
//
// # Numbers
//
// On a bus without a log (see [bus.KeepsLog]) the relay gives the events of a stream, which is what one source
// publishes on one topic, the numbers 1, 2, 3 … and sends them along as [bus.Event] Seq. A subscriber that has seen 7
// and then sees 9 has missed one event, exactly; bus/inbox keeps that count.
//
//   - An event has one number, however often and by whichever relay it is published, and a number has one event.
//   - No number is left out: an event takes one when it is about to be sent, in the order of positions, and one that
//     is held back or put aside takes none.
//   - Numbers leave in order. What was not acknowledged is sent again before anything above it, and before anything
//     takes the next number; so one that comes late is a repeat, unless the bus itself passed on later events of a
//     call in which it refused an earlier one.
//   - Within a key numbers rise with the versions. Between keys they tell in which order the relay came to the events.
//   - SeqLog is the id of the numbering, made with the stream's counter. Numbers of another id don't compare. Where
//     [WithNewStream] says so it begins with [bus.SeqLogFirst]: each key's version 1 has a number in it.
//
// Numbers are stored before the first publishing, under the lock of the stream's counter, by the relay that holds the
// lease; where the disk is full, nothing is published. An owner's database put back to an older copy gives numbers out
// twice, as it does versions: nothing heals that.
//
// When there is nothing to send, the relay tells of the highest number by a [bus.Heartbeat]: five seconds after the
// last publishing on the stream, every five seconds, and once when it begins to lead. So the last events are missed
// by nobody in silence, although none follows them; nor are the first ones, where [WithStream] was given. A heartbeat
// is sent only when every number that it counts was acknowledged, whatever becomes of other streams. One that can't be
// sent is tried again five seconds later, without a word.
//
// A bus with a log sees nothing of this, be it durable or not: no numbers, no heartbeats. When a database that used one
// is given a bus without a log, numbers begin, or go on, with what is sent there; what went over the log meanwhile has
// none. What has a number and was not acknowledged when the database is given a bus with a log goes out there without it;
// its stream begins a new numbering, from 1 and with a new id, or these events would count as missed by those who have
// them. Nothing tells of the old one any more, so that whoever didn't hear its last events, and hears the new one only,
// does not count those as missed. Let a bus without a log be drained, and its consumers hear a heartbeat, before the
// database is given another.
//
// How many heard an event is kept with the mark, and [Status] counts those that nobody heard.
//
// # A log that is new or shorter
//
// What was sent is kept until it is purged, with its place: log, partition and offset. The relay compares these places
// with the log, where the bus keeps one and is a [bus.Inspector]: when it begins to lead, before it publishes anything;
// every five seconds; and when an acknowledgement comes from another log, or from an offset below one that was marked
// before, which is nowhere in a log that only grows. What was acknowledged so is not marked, and is sent again.
//
//   - The topic was deleted and made anew: every row that was sent to another log is unsent again.
//   - The log is shorter than it was (an unclean election, a broker on a restored disk): the rows of that partition from
//     its end on are unsent again, and as many in front of it as events may have been published without being marked.
//     Then what was sent since is sent again until none of it stands in front of the old end: a reader that
//     did not look while the log was short goes on where it was, and must not go past anything. So the log gets about as
//     many repeats as offsets were lost.
//   - Where other owners write to the topic, what they have written counts as the log's too, as far as the relay saw it: each
//     look stores how far the log goes. A reader that stood behind events that another owner wrote after the last look, which
//     is up to five seconds of them, and that never looked while the log was short, may go past a new event.
//   - What the log has dropped by age is left alone, and so is what was sent on a bus without a log.
//   - A topic that isn't there is waited for: whoever publishes or reads next makes it anew.
//
// It becomes unsent in small transactions, all of it before anything else goes out, and goes out by position: so before
// what is newer. Only events that told of the change by their acknowledgement stand in front of it. A crash at any point
// leaves it to be found again, for what is stored of the ends is changed last. [Status] Sent counts no event twice.
//
// What was purged is lost to the log. It is counted when that is found, logged then and whenever a relay begins to lead, and
// told by [Status] Lacking. Nothing is purged before a relay has looked at the log once: a log that never answers holds up
// the purge of its own topic, and of no other.
//
// Each topic is asked about by itself. Where its log doesn't answer, because a partition has no leader, say, it is waited
// for when a relay begins to lead and when an acknowledgement raises a doubt, each time once and for five seconds. Then it
// is asked again every five seconds, and events go out meanwhile: what was lost is found later. A topic of which everything
// was purged is not waited for.
//
// What can't be found: an end that was lost, and then filled up to where it was before this relay publishes again. That takes
// somebody else who writes to the topic, or an event that was given up after 15 seconds, is stored by the broker all the same,
// and was the only one of the producer in that partition: elsewhere Kafka refuses it, for it breaks the producer's sequence.
//
// # When events don't get through
//
// While the broker is away nothing is lost, nothing is reordered, and Relay waits. A short outage repeats nothing:
// a publish is given up after 15 seconds, and what was given up may be stored all the same.
//
// On a bus with a log, when some events of a batch are not acknowledged, their keys are held back, from the first such
// event on, and the other keys go on. Keys held back are tried again, a few at first, after a delay that grows from a
// quarter of a second to five seconds. While 10,000 keys are held back, or 100,000 events have to be gone past, what
// comes after them waits too.
//
// Without a log there are no partitions, and numbers run across keys. So there a topic is held back as a
// whole, tried again after a delay of its own, which grows likewise, and goes on from its lowest position. One that the
// server refuses for good, because a right is lacking, say, holds up no other topic, nor its heartbeats, but for the
// time that it takes to go past its events: on SQLite 0.12 s for 300,000 and 0.37 s for a million of them. The relay
// rests for up to a second after it has taken long, so that an event of another topic waits for about two seconds
// behind a million, and on a busy machine up to four were seen.
//
// An event that no bus takes is refused by [Outbox.Add]. A row that can't be read nonetheless is put aside in the table
// tidings_outbox_failed, logged and counted in [Status]; the rest goes on.
package outbox
