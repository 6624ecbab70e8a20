// Package redis is the bus over Redis PubSub. Pass [Backend] to [bus.Open]:
//
//	b, err := bus.Open(ctx, "redis://host:6379/0", redis.Backend())
//
// PubSub has no log: who isn't listening at the moment doesn't get it, ever. The package makes none of that up; what
// it adds is that no loss passes unseen.
//
// # What it promises
//
// OrderedByKey, and nothing else. All that is published by one bus goes over one connection, and the server hands it
// on in that order. What breaks off is sent again from the first event that was not answered, so that an event may
// come twice. Where the server refuses an event in the midst of a call, later ones of its key may be delivered all
// the same, though they count as failed.
//
// A subscription that requires more is refused ([bus.GuaranteeError]). There are no groups: each member gets every
// event. There are no positions: At has the Offset -1, deliveries have no ranges, Resume is never asked.
//
// # Publishing
//
// PUBLISH goes out in pipelines and is acknowledged when the server has answered each. Event.Heard says how many
// clients it was sent to, which need not all have read it. Events that nobody heard are logged, with their count: when
// that begins, at most every 10 seconds while it goes on, and when somebody listens again. Publish waits for a server
// that is away, until its context ends; error replies (NOPERM, say) fail at once.
//
// A server that was away has lost its subscribers, too, and a publisher that came back first would publish to nobody
// all that it had kept. So the first publish to a topic after an outage asks PUBSUB NUMSUB, until as many listen
// as heard the last event before the outage, but for 3 seconds at most from the first answer on, whatever the number of
// topics and calls. A topic that nobody listened to isn't waited for. An outage is that the server couldn't be reached, or
// has another run_id (INFO) than it had; where it doesn't tell it, each connection that breaks counts as one.
//
// Subscribers try again after 20 ms, and then about each second, as long as they are refused at once. A try that is not
// answered at all, for the host itself is away, takes up to dial.timeout: by default longer than publishing waits. What
// remains: whoever takes longer misses what is published meanwhile, and so does one that the count can't tell: a
// connection that is dead and that the server still counts, or a newcomer that stands in for one who was there. Who listens by a pattern (PSUBSCRIBE) is heard of in the count of PUBLISH, not in NUMSUB's, so that a topic
// with such a listener is waited for in vain.
//
// # Subscribing
//
// OnGap hears of every loss that can be noticed:
//
//   - The connection was lost, whoever ended it: a restart, the network, CLIENT KILL, the server's
//     client-output-buffer-limit, or silence, when a ping wasn't answered. One gap a topic, with Missed 0, for nobody
//     can say what was published until the subscription stands again. OnReady hears false, then true.
//   - The handler was slower than what came, for so long that more than buffer bytes waited for it: the oldest are
//     dropped and counted, and told at most once a second. The sum of Missed is exact. Reading never stops meanwhile,
//     so that a slow handler isn't cut off by the server.
//   - The subscription ended before all that had been received was handled: it has as long as drain says, then what
//     is left is counted.
//
// Of the heartbeats of a numbering that wait together the lowest and the highest are delivered, even where the buffer
// overflowed. How many were missed with a connection the numbers of bus/outbox and bus/inbox tell. Heartbeats never count.
//
// # Parameters
//
//	buffer          bytes that may wait for a slow handler; default 64MiB
//	client.name     as in CLIENT LIST; default tidings
//	password.file   else the environment variable TIDINGS_REDIS_PASSWORD
//	ca.file         for rediss, certificates to trust; default is the system's
//	dial.timeout    of a connection; default 5s
//	answer.timeout  how long the server may take to answer, until the connection is given up; default 10s
//	ping.interval   how long a subscription may be silent before it is asked whether it is alive; default 5s
//	drain           how long handling may take when a subscription has to end; default 5s
//
// Durations are like 250ms, or a bare number of milliseconds. A user stands in the address, redis://user@host; it
// needs the right to PUBLISH, SUBSCRIBE, PING, CLIENT SETNAME and, if publishing is to wait for subscribers after an
// outage, PUBSUB NUMSUB and INFO: ACL SETUSER <user> &<topic> +publish +subscribe +ping +client|setname +pubsub|numsub +info.
// Without +info every connection that breaks counts as an outage.
//
// The number of a database in the path is accepted and means nothing: channels belong to the whole server, and two
// environments that differ by this number alone hear one another. Open warns of a number other than 0. The effective
// settings are logged by Open, at the info level.
//
// # Memory
//
// A subscription holds buffer bytes that wait, and the delivery in hand, which is at most as large. A call of Publish
// encodes 1,000 events or 4 MiB at a time.
package redis
