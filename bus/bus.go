package bus

import (
	"context"
	"errors"
	"time"
)

// Publisher takes events to a topic. It is safe for concurrent use.
type Publisher interface {
	// Publish returns nil once the backend has acknowledged every event, which for a durable backend means
	// that each is stored. It blocks until then, through an outage too: give ctx a deadline to bound it.
	//
	// Events of one key keep their order within a call, and between calls that do not overlap. When one
	// fails, none of its key's later ones in the call is stored without it.
	//
	// A failure is a *[PublishError], which holds by index what was not acknowledged; those may be stored
	// all the same, so publishing them again can repeat them. Publish fills in At of each event in events
	// that was acknowledged. An event that can't be sent at all (see [Event.Validate]) fails the whole call
	// before anything is sent. A topic that does not exist is made.
	Publish(ctx context.Context, topic string, events ...Event) error
}

// Subscriber delivers the events of topics to a handler. It is safe for concurrent use.
type Subscriber interface {
	// Subscribe calls h with whatever is ready, and blocks until ctx ends; then it lets the delivery in hand
	// finish or cancels it, waits for it, and returns nil. No handler is running when it returns.
	//
	// When h returns an error the delivery comes again, after [RetryAfter]'s delay or a growing one with
	// jitter; a [Permanent] error ends Subscribe and is returned. A backend that is away is waited for.
	// A subscription that asks for what the backend can't do is refused at once: *[GuaranteeError].
	Subscribe(ctx context.Context, s Subscription, h Handler) error
}

// Bus is a connection to one backend. It is safe for concurrent use.
type Bus interface {
	Publisher
	Subscriber

	// Guarantees says what this backend promises, given the settings in use. It can shrink once the topics
	// are known: a topic whose retention is finite is not Replayable.
	Guarantees() Guarantees

	// Close waits for what is being published, until ctx ends, and gives the connection back. End every
	// Subscribe, by its own context, before. A second Close does nothing.
	Close(ctx context.Context) error
}

// Inspector is a Bus that keeps a log and can say where it stands. What [Open] returns is one; on a backend
// without a log Partitions answers an error that wraps [errors.ErrUnsupported].
type Inspector interface {
	// Partitions asks the broker for every partition of the topics, in order of topic and partition, with
	// Offset equal to First. Topics that don't exist are left out. It blocks until the broker answers or
	// ctx ends.
	Partitions(ctx context.Context, topics ...string) ([]Partition, error)
}

// KeepsLog reports whether b has a log, in partitions, from which what was published can be read later, by who is down
// or new. That is less than being Durable: a log whose broker acknowledges before it has stored can lose, and yet be
// read again. Without a log there are no positions, and numbers tell what was missed ([Event] Seq). It waits for no
// broker, and the answer is the same for as long as b lives.
func KeepsLog(b Bus) bool {
	if b.Guarantees().Durable {
		return true
	}
	in, ok := b.(Inspector)
	if !ok {
		return false
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel() // only whether there is anything to ask is asked
	_, err := in.Partitions(ended)
	return !errors.Is(err, errors.ErrUnsupported)
}

// Handler takes a delivery of at most MaxBatch events, in order within a key. No two deliveries of a
// subscription that have a key in common are handled at once. It may keep the events, but not the slices.
// Its context ends when the delivery has to be given up (the subscription ends, or its partitions are taken
// away); a handler that has then neither committed nor rolled back must do so soon.
type Handler func(ctx context.Context, d Delivery) error

// Delivery is what one call of a [Handler] is about. Events may be empty where the log holds nothing
// readable between the offsets of a range; the ranges move on nonetheless.
type Delivery struct {
	Events []Event
	// Ranges says for each partition what the delivery reads of it, one range a partition, in order of topic
	// and partition. Empty on a backend without a log.
	Ranges []Range
	// Heartbeats say how far a source's numbers have come, where no event does. They come on a backend without a
	// log only; nothing is said of their order among Events. Of each numbering a backend may leave out all but the
	// one with the lowest number, behind which a new subscriber begins to count, and the one with the highest.
	Heartbeats []Heartbeat
}

// Position is a place in a log: the next event to read, or where an event was read.
type Position struct {
	Topic     string
	Log       string // the topic's id, which changes when a topic is deleted and made anew
	Partition int32
	Offset    int64 // -1 where there is no log
}

// Range is what a delivery reads of one partition: the offsets from Offset to Next, Next not included.
// Offsets may skip. All its events are of that partition and inside it.
type Range struct {
	Position
	Next int64
}

// Partition describes one partition of a log as it stands.
type Partition struct {
	Position       // Offset: where a group without a position of its own starts, by Subscription.Start
	First    int64 // the oldest offset that the log still holds
	Next     int64 // the end of the log: the offset that the next event will get
}

// Subscription says what is to be delivered, to whom, and from where. Group and Topics must be set.
type Subscription struct {
	// Group names the consumer group: one database of one service. Members of a group share the partitions;
	// each group gets every event.
	Group string
	// Topics to read. One that doesn't exist yet is made, or waited for where it can't be made.
	Topics []string
	// Start says where a group without a position begins; the zero value is the log's start.
	Start Start
	// MaxBatch bounds the events of a delivery; 0 is 1000. A delivery holds whatever is ready, up to this;
	// nothing waits for it to fill.
	MaxBatch int
	// Require is what the handler can't do without.
	Require Guarantees
	// OnReady, where set, hears true once the subscription stands (the group has been joined) and false when
	// it no longer does: the backend is away, or is being waited for. Calls don't overlap.
	OnReady func(ready bool)
	// OnGap, where set, hears of every loss that the backend notices.
	OnGap func(ctx context.Context, g Gap)
	// Resume, where set, answers from the reader's own record where to read on: one offset for each
	// partition given, in the same order. It is asked before the first delivery for every partition of the
	// topics, so that a new group can fix its start for all of them at one moment, and again for those that
	// were just assigned, or that [Reread] named, or whose log no longer holds the position. An answer
	// outside [First, Next] is an error of the caller; an error is logged and asked again with backoff. A
	// backend without a log never calls it. Where Resume is nil the position kept by the broker is used.
	Resume func(ctx context.Context, parts []Partition) ([]int64, error)
}

// DefaultMaxBatch is the largest delivery where Subscription.MaxBatch is 0. Catching up in transactions of
// 1,000 rows is within a few percent of the best that SQLite does.
const DefaultMaxBatch = 1000

// Start is where a consumer group without a position begins. The zero value is the log's start.
type Start struct {
	latest bool
	since  time.Time
}

// Earliest starts at the oldest event that the log holds. It is the zero Start.
func Earliest() Start { return Start{} }

// Latest starts behind the newest event at the moment when the group is first seen.
func Latest() Start { return Start{latest: true} }

// Since starts with the first event that the backend received at t or later.
func Since(t time.Time) Start { return Start{since: t} }

// IsLatest reports whether s is [Latest].
func (s Start) IsLatest() bool { return s.latest }

// Time returns the time given to [Since]; ok is false for the other starts.
func (s Start) Time() (t time.Time, ok bool) { return s.since, !s.since.IsZero() }

// String is "earliest", "latest" or the time in RFC 3339.
func (s Start) String() string {
	switch {
	case s.latest:
		return "latest"
	case s.since.IsZero():
		return "earliest"
	default:
		return s.since.Format(time.RFC3339Nano)
	}
}

// Gap is a loss that was noticed: events that were published and will not be delivered.
type Gap struct {
	At     Position // the first place that is missing; Offset -1 where there is no log
	Source string   // whose events are missing, where that is known
	Missed uint64   // how many events are missing; 0 where nobody can say
	Reason string   // what happened, for a log line: "the log starts at 400, behind position 120"
}
