// Package sqldb is what bus/outbox and bus/inbox need of a database: closure transactions in which writers share
// commits, statements that are prepared once, migrations, and the place where databases differ.
//
// SQLite has one writer at a time, and a commit costs a wait for the disk. [Writer.InTx] therefore puts the
// transactions that wait at one moment into one: each runs inside a savepoint of its own, and none is answered
// before the common COMMIT, not even one that failed, for the next try would find what is not stored. Measured with
// full synchronisation: 5,300 commits a second alone, 31,000 shared by 8 writers, 100,000 by 64, 200,000 by 256.
//
// A transaction that the database ends by itself, as SQLite does when its disk is full, is lost for all who share
// it. Whatever was executed after that would be stored on its own, so nothing is: every further statement is refused.
//
// Statements are written with $1, $2 …, which both SQLite and Postgres take; SQLite numbers parameters by first
// appearance, so they have to appear in order.
package sqldb
