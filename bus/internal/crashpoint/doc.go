// Package crashpoint lets a test end a process at a given step, as a power cut would: by SIGKILL, at once, with nothing
// flushed, closed or given back.
//
// A point is a row of the table of steps in the documentation of bus/outbox or bus/inbox, by the name of the package and
// of the row: "outbox.7a". [Pass] stands in the code where that step is over. In a normal build it does nothing, and
// the compiler leaves nothing of it. In a build with the tag tidings_crash the environment says where the process ends:
//
//	TIDINGS_CRASH=inbox.D8a      the first time that it comes to that point
//	TIDINGS_CRASH=inbox.D8a:3    the third time
//
// Such a process ends at its start, with code 2, where the variable names no point. That the tables, [All] and the
// calls of Pass name the same points is tested here; that each of them is survived, in services/tidings/internal/e2e.
package crashpoint
