// Package sqldb is what bus/outbox and bus/inbox need of a database: closure transactions, migrations, and the place
// where SQLite and Postgres differ. It links no driver: it asks the database what it is, and errors for their codes.
//
// SQLite has one writer at a time, and a commit costs a wait for the disk. [Writer.InTx] therefore puts the
// transactions that wait at one moment into one: each runs inside a savepoint of its own, and none is answered
// before the common COMMIT, not even one that failed, for the next try would find what is not stored. Measured with
// full synchronisation: 5,300 commits a second alone, 31,000 shared by 8 writers, 100,000 by 64, 200,000 by 256.
//
// A transaction that SQLite ends by itself, as it does when its disk is full, is lost for all who share it. Whatever
// was executed after that would be stored on its own, so nothing is: every further statement is refused, also that of
// one who passed the error over.
//
// On Postgres each transaction runs on a connection of the pool, beside the others, at READ COMMITTED: what must not
// happen twice is decided by row locks ([Dialect.ForUpdate]) and conditional changes. Measured on a
// busy machine, with a pool of 16: 1,900 commits a second alone, 4,300 by 8 writers, 5,400 by 64.
//
// # A commit in doubt
//
// When the connection breaks between COMMIT and its answer, nobody on this side knows what became of it, and the
// transaction may even commit a moment later. Its error wraps [ErrInDoubt] and not [ErrNotCommitted]. There is one way
// to know, and it is also the way on: run the same transaction again, under a condition that only one of the two can
// meet. The second waits for the row locks of the first, so its answer is final.
//
// The inbox's transaction has such conditions, for the position's row and the marks are changed in it: it treats the
// error as any fault of the store, and what comes again is left out where it was stored. So has the relay's, which
// may send again, and the numbering's, which is read anew; and a reaction is not performed before its "sending" is
// known to be stored.
//
// Who writes for a caller from outside runs the same again, with the same id and the same version that it expects, and
// takes "it is there already, and is mine" for success: an insert by the row's id, which its maker chose before; an
// update or delete by WHERE version = n. Where that fails too it answers neither yes nor "not stored", but that the
// outcome is unknown, with the id, and the caller reads before it writes again.
//
// # Statements
//
// Statements are written with $1, $2 …, which both databases take; SQLite numbers parameters by first appearance, so
// they have to appear in order. What else a portable transaction does stands at [Tx].
package sqldb
