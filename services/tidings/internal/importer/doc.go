// Package importer brings many users in through the write door, as any client would: by HTTP, one user a request,
// many requests at a time.
//
// An import can be cut off at any moment and run again: a user whose e-mail is in use counts as already there. A row
// that the door refuses goes to a file of bad rows, with its line and the reason, and the rest goes on.
package importer
