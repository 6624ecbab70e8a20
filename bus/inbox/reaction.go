package inbox

import (
	"context"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"google.golang.org/protobuf/proto"
)

// State is where a reaction stands.
type State string

// The states of a reaction. Sent, Skipped and Dead are final.
const (
	Queued   State = "queued"   // stored with the event's mark, to be performed
	Sending  State = "sending"  // about to be performed, or being performed
	Sent     State = "sent"     // performed
	Retrying State = "retrying" // a try failed or was cut short; another will follow
	Skipped  State = "skipped"  // the event is older than Config.MaxAge: it is not performed
	Dead     State = "dead"     // it can't be performed, or its attempts are spent; parked
)

// Progress is a change of a reaction's state.
type Progress struct {
	State    State
	Attempts int       // tries that were begun, this one included
	Error    string    // what the last try came to; "" before one has failed
	Next     time.Time // Retrying: not before this time; else zero
	Time     time.Time // of the change, by Config.Now
}

// AfterOption is a setting of [After].
type AfterOption func(*Route)

// After takes events of type M to fn outside of any transaction: for what a rollback can't take back, such as a mail.
// The event is queued in the transaction of its mark, once, and performed after the commit: at least once, in order
// within a key, several keys at a time. Route it beside an On or Batch of the same type if it has an effect here too.
//
// "sending", with a lease, is committed before each try and its outcome after it; so fn is called twice for one event
// only when a process is killed, paused past the lease, or cut from its database in between. Give e.ID to the other
// side so that it can tell. A failed try is repeated after a growing delay (1 s to 10 min) or [bus.RetryAfter]'s, with
// the key's later events waiting behind it, until Config.Attempts are spent; [bus.Permanent] ends it at once. Then it
// is parked as dead, and the key's later events go on.
//
// The context ends after Config.Timeout, and 5 s after Run's has ended. An After route makes the whole inbox wait for
// missing versions: see [Every].
func After[M proto.Message](fn func(ctx context.Context, e bus.Event, m M) error, opts ...AfterOption) Route {
	r := Route{types: []string{typeOf[M]()}, faults: missing(fn == nil, "After"), react: func(ctx context.Context, e bus.Event, converted proto.Message) error {
		m, err := messageOf[M](&e, converted)
		if err != nil {
			return err
		}
		return fn(ctx, e, m)
	}}
	for _, opt := range opts {
		opt(&r)
	}
	return r
}

// Track makes fn hear of every change of a reaction's state inside the very transaction of the change, so that a
// service can show its reactions from a table of its own without commits of its own. An error of fn undoes the change,
// which is tried again; that of Queued or Skipped is the event's, as an error of [On] is. e is the event as it came: where
// it may be of an older type, [Read] gives the message that the handler of After gets.
func Track(fn func(ctx context.Context, tx Tx, e bus.Event, p Progress) error) AfterOption {
	return func(r *Route) {
		r.faults = append(r.faults, missing(fn == nil, "Track")...)
		r.track = fn
	}
}

// reaction is one to be queued.
type reaction struct {
	ev     *bus.Event
	source int64
}

// tellQueued tells the tracker that j's reaction is queued, if there is one, or skipped. It is one of j's handlers: its
// error is the event's.
func (a *attempt) tellQueued(ctx context.Context, j *job) error {
	r := j.h.after
	if r == nil || r.track == nil {
		return nil
	}
	p := Progress{State: Queued, Time: a.now}
	if a.tooOld(j.ev, a.now) {
		p.State = Skipped
	}
	return a.tell(ctx, a.tx, r, j.ev, p)
}

// react queues the reaction to an event that was taken, if there is one and the event is not too old.
func (a *attempt) react(j *job) {
	switch {
	case j.h.after == nil:
	case a.tooOld(j.ev, a.now):
		a.counts.add(counterSkipped, 1)
	default:
		a.reactions = append(a.reactions, reaction{j.ev, j.source})
	}
}

func (in *Inbox) tooOld(e *bus.Event, now time.Time) bool {
	return in.cfg.MaxAge > 0 && !e.Time.IsZero() && now.Sub(e.Time) > in.cfg.MaxAge
}

// tell calls the tracker of r.
func (in *Inbox) tell(ctx context.Context, tx Tx, r *Route, e *bus.Event, p Progress) error {
	if r == nil || r.track == nil {
		return nil
	}
	return in.call(ctx, e, func(ctx context.Context) error { return r.track(ctx, tx, *e, p) })
}

// storeReactions writes the queue's new rows.
func (a *attempt) storeReactions(ctx context.Context) error {
	const cols = 12
	args := make([]any, 0, cols*len(a.reactions))
	for _, r := range a.reactions {
		e := r.ev
		args = append(args, r.source, e.Key, string(Queued), 0, a.now.UnixMilli(), "", "",
			e.At.Topic, e.At.Log, e.At.Partition, e.At.Offset, e.AppendEnvelope(nil))
	}
	_, err := execMany(ctx, a.tx, &a.sql.storeQueue, cols, args)
	crashpoint.Pass("inbox.D5")
	return err
}
