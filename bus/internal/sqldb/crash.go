package sqldb

import "github.com/tidings-dev/tidings/bus/internal/crashpoint"

// The ends of a COMMIT are crash points of the outbox, whose callers stand in line for one. The inbox, which waits for
// its own, has such points beside its calls.

func beforeCommit() { crashpoint.Pass("outbox.1b") }
func afterCommit()  { crashpoint.Pass("outbox.2a") }
