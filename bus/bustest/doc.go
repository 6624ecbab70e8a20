// Package bustest is for tests of what publishes and what subscribes.
//
// A [Recorder] is a bus in memory that keeps every promise of package bus while it lives, remembers what was
// published, and can be made to fail: the broker goes away, an acknowledgement is lost, a topic is deleted. Tests
// wait for it by condition, never by time:
//
//	r := bustest.NewRecorder()
//	go in.Run(ctx, r)
//	err := r.Publish(ctx, "orders", event)
//	err = r.Drain(ctx, "loyalty", "orders") // the group has handled it
//
// [Faults] is put around any bus, to find out what a handler or a publisher makes of all that a bus may do: events come
// and are stored twice, deliveries fail after they were done, subscriptions are cut, acknowledgements are lost. It is
// the same events that are struck, run after run.
//
// [Run] is the contract of package bus as a test suite. Every backend runs it, and so do the Recorder and a bus with
// such Faults as are allowed: what is shown on the Recorder holds on a broker.
package bustest
