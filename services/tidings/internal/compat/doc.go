// Package compat holds the tests of what schemas promise over the years, and nothing else: programs built from what was
// released before run against today's, and today's against theirs. No older code is kept for it: an older program's
// messages are dynamic ones, made from the descriptor image of its release (proto/released), and know exactly what it
// knew.
//
//   - A consumer of 0.1.0 reads today's events: it ignores what it does not know, and what it stores, parks or forwards
//     keeps it byte for byte, so that an upgrade finds it.
//   - Today's consumers read events of 0.1.0: what such an event knows nothing of stays as it was.
//   - A gRPC client of 0.1.0 works against today's servers, and today's client against a server of 0.1.0.
//   - Enum numbers and oneof cases that a program does not know arrive and are kept, and every switch over them has a
//     default branch.
package compat
