// Package store keeps the audit's events in its own database: a history, each event once, its bytes as they came.
//
// Rows are added and never changed. Those of one user are neighbours, so a user's history is read from a page or two
// of the file; new users have ids in order of time, so what is written goes to the end.
package store
