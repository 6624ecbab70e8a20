// Package database opens the one database that a service owns, and brings its tables up to date.
//
// SQLite is what a service gets without asking: one file, made with its folder at the first start. [Open] sets it
// up for one writer at a time and many readers: a write-ahead log, commits that outlive a power cut, transactions
// that take the write lock at once, so that none fails halfway for having read first. Reads wait for no writer.
//
// A transaction begun on [DB] takes the write lock, even one that only reads. So read with single statements, each
// of which sees one state of the database, and write through the outbox's or the inbox's transactions.
//
// Callers write $1, $2 … for parameters, which SQLite and Postgres both take, and keep what differs between the
// two by [DB.Dialect]: a folder of migrations for each, and hardly more.
package database
