// Package soak is a test in the manner of Jepsen. Writers write users through the door of a whole platform, each write
// recorded with what came of it: acknowledged, refused, or unknown. Readers read what was just written. Meanwhile a
// nemesis kills, stops and pauses services and brokers, cuts, slows and silences connections, locks databases, and
// publishes events again and garbage beside them. Then everything is healed, the platform comes to rest, and the
// databases themselves are asked whether the promise held:
//
//   - no acknowledged write is missing anywhere, none that was refused is anywhere, and one whose outcome nobody knows
//     was made once or not at all;
//   - no version was applied out of order, and every event was handled once in each history;
//   - one mail was queued for each event that is to be mailed, and a mail that was sent twice has a fault to explain it;
//   - deleted users are in no projection, and all services are equal to the owner.
//
// A [Plan] is made from a seed before the run begins, so the seed repeats it: the same faults, in the same order, at the
// same times. What the machine makes of them is never the same twice.
//
// Order can't be seen in a table that keeps the newest, nor a second handling in one that passes over repeats. So the
// run puts triggers into the services' databases that write down each change, and the checker reads those too.
//
//	go test ./services/tidings/internal/soak -run Soak -v -timeout 20m -soak 10m -soak.db postgres -seed 7
//
// With Config.Events "v2,v1" each change is told by twins, an event of each version: readers keep one of them, and the
// checker compares what the other says too.
//
// It is for tests, and no part of any program; it is tested itself by breaking databases on purpose.
package soak
