// Package store keeps the directory's people in its own database: a projection, the newest version of each.
//
// # Finding by prefix
//
// A person is found by the beginning of a term: the address, or a word of the name or of the display name, folded
// ([Fold]). A display name that the newest event does not tell of is kept, and its terms with it. The index is an ordinary
// one (term >= 'ada' AND term < 'adb'), which every database has, and it comes in segments: the terms of the
// first ten thousand people, of the next ten thousand, and so on. A search asks each segment in turn.
//
// The reason is speed of writing. Terms come in random order, so a transaction of a thousand people would dirty
// thousands of pages all over one large index, and every one of them is written twice: the database of 200,000
// people (60 MB) took 5.8 GB of writes, and 47 µs of processor time a person. In segments, only the newest is written
// to when people are new, and it is small: 0.3 GB and 9 µs. Searching costs a few microseconds for each ten thousand
// people more.
//
// On Postgres the index is the same one, so that a search finds the same in the same order, and for the same reason. It
// is kept to asking one segment after another, whatever it believes of the sizes of the tables.
package store
