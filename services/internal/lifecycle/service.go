package lifecycle

import (
	"context"
	"time"
)

// Service is one service of the platform. A [Runner] is one.
type Service interface {
	// Name is the service's name: "directory".
	Name() string
	// Run runs the service until ctx ends; it calls ready once, when reads can be answered, and returns when
	// everything it has started is gone: nil after a stop that went well. It may be called again then. Its
	// errors don't say the service's name: whoever runs it knows.
	Run(ctx context.Context, ready func(Info)) error
	// Status says how the service stands, at any time. It asks the database and, for the lag, the broker, so
	// give ctx a deadline. An error goes along with what could be found out.
	Status(ctx context.Context) (Status, error)
}

// Info is where a service can be reached.
type Info struct {
	Address string `json:"address"`        // of gRPC, as it is bound: "127.0.0.1:8482"
	Door    string `json:"door,omitempty"` // of the write door, where there is one
}

// State is how far a service is in its life.
type State string

// The states.
const (
	Stopped  State = "stopped"
	Starting State = "starting"
	Serving  State = "serving"  // reads are answered
	Stopping State = "stopping" // reads may no longer be answered
	Failed   State = "failed"   // Run has returned an error, which is Status.Error
)

// Status is how a service stands. What is below Error is zero, and Lag unknown, unless State is Serving; what the bus
// promises is known once the service has served.
type Status struct {
	Service string `json:"service"`
	State   State  `json:"state"`
	Info
	Error string `json:"error,omitempty"` // why State is Failed

	// Count is how many the service holds of what it is about: users, people, events, messages.
	Count int64 `json:"count"`
	// Keys is the number of marks and Versions the sum of their versions; at users, the number of rows and
	// tombstones and the sum of theirs. Services that have done the same events have the same two.
	Keys     int64  `json:"keys"`
	Versions uint64 `json:"versions"`
	// Lag is how many offsets of the log are still to be read; UnknownLag while the broker can't be asked, and on a
	// bus that keeps no log. At users, which reads none, it is 0.
	Lag int64 `json:"lag"`
	// Bus reports whether the subscription stands, as health "bus" does.
	Bus bool `json:"bus"`
	// BusError is why it does not, as far as the bus has said; empty while it stands.
	BusError string `json:"bus_error,omitempty"`
	// Guarantees is what the bus promises, and Without what it doesn't, in words: see [bus.Guarantees].
	Guarantees string `json:"guarantees,omitempty"`
	Without    string `json:"without,omitempty"`
	// KeepsLog reports whether the bus keeps what it was given, for a service that is down or new. Where it doesn't,
	// events are numbered, and Seq, Missed and Streams tell how far a service is; on a log these are zero.
	KeepsLog  bool       `json:"keeps_log"`
	Positions []Position `json:"positions,omitempty"` // where each partition is read on
	// Seq is, at users, the highest number that was given to an event, and elsewhere the highest that was heard of: the
	// sum over Streams, the newest of each topic and source.
	Seq uint64 `json:"seq"`
	// Missed is how many events never reached this service, exactly, by their numbers. What was told before it first
	// heard a number is not among them; see Stream.First.
	Missed  int64    `json:"missed"`
	Streams []Stream `json:"streams,omitempty"` // in order of topic and source, older numberings first
	// Gap is the last loss that was noticed since the service was started; nil without one. On a bus that keeps no log
	// it is one that was counted by numbers.
	Gap *Gap `json:"gap,omitempty"`
	// Uncounted is the last loss that such a bus noticed by itself, until a higher number says what came of it: there
	// may have been nothing to lose.
	Uncounted *Gap    `json:"uncounted_gap,omitempty"`
	Outbox    *Outbox `json:"outbox,omitempty"` // at users; nil elsewhere

	Queued  int64 `json:"queued"`  // reactions still to be performed
	Waiting int64 `json:"waiting"` // events that wait for missing versions of their key
	Parked  int64 `json:"parked"`  // events that wait for another try
	Dead    int64 `json:"dead"`    // events whose tries are spent
	Missing int64 `json:"missing"` // versions of keys known here that never came
	// Ignored is how many events were none of this service's: of types that it doesn't take, or of others than the owner.
	Ignored int64 `json:"ignored,omitempty"`
	// Notes are sentences for people: what this service wants somebody to know or do.
	Notes []string `json:"notes,omitempty"`
}

// UnknownLag is the Lag of a service that can't ask the broker.
const UnknownLag = -1

// Position is where a service reads on in a partition.
type Position struct {
	Topic     string `json:"topic"`
	Log       string `json:"log"` // the topic's id
	Partition int32  `json:"partition"`
	Next      int64  `json:"next"` // the offset to read next
}

// Stream is the numbering of one source's events on a topic, on a bus that keeps no log.
type Stream struct {
	Topic  string `json:"topic"`
	Source string `json:"source"`
	Log    string `json:"log"` // id of the numbering, which is new when the owner's database is
	// First is the first number that this service waits for: what has a lower one was told before it first heard one.
	// 0 at users, who gives them out.
	First  uint64 `json:"first,omitempty"`
	Seq    uint64 `json:"seq"`    // the highest number, given out or heard of
	Missed int64  `json:"missed"` // how many from First to Seq never came
}

// Gap is a loss that was noticed: see [bus.Gap].
type Gap struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source,omitempty"`
	Missed uint64    `json:"missed"` // 0 where that can't be said at once; the next number that comes says it
	Reason string    `json:"reason"`
}

// Outbox is how the owner's outbox stands.
type Outbox struct {
	Unsent  int64 `json:"unsent"`  // events that no bus has acknowledged yet
	Unheard int64 `json:"unheard"` // events that were sent when nobody at all was listening, on a bus that keeps no log
}
