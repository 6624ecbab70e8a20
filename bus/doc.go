// Package bus carries events between services that must not depend on one another being up.
//
// An [Event] is a fact about one key, in a CloudEvents 1.0 envelope. A [Bus] publishes events to topics and
// delivers them to consumer groups, in order by key. Backends live in packages of their own (bus/kafka,
// bus/redis) and are chosen by a URL that a flag can hold:
//
//	b, err := bus.Open(ctx, "kafka://broker:9092", kafka.Backend(), redis.Backend())
//
// Backends differ in what they can promise, and say so: [Bus.Guarantees] declares it, and a [Subscription]
// that requires more is refused by a [GuaranteeError] that names what is missing. Nothing here pretends that
// a backend without a log has one.
//
// Events are kept for years, and a message that must change in a way that old readers can't read gets a new type, beside
// the old one. For as long as some readers know only the old type, the publisher tells each change twice: [NewTwins]
// makes the events, which name one another, and bus/inbox takes the best that it can read and discards the rest.
//
// Most programs use a Bus through two packages that work inside the caller's database transaction:
// bus/outbox for the one service that owns a kind of thing and publishes its events, and bus/inbox for
// those that learn of it. A handler given straight to Subscribe is called at least once for each event, and
// has to discard by itself what it has done before.
package bus
