package inbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// fault is an error of a handler, told apart from those of the database and of this package.
type fault struct {
	ev  *bus.Event // nil where a batch doesn't name the event at fault
	err error
}

func (f *fault) Error() string {
	if f.ev == nil {
		return fmt.Sprintf("inbox: handler: %v", f.err)
	}
	return fmt.Sprintf("inbox: handler of event %.64s (%.64s %.64s, version %d): %v", f.ev.ID, f.ev.Type, f.ev.Key, f.ev.Version, f.err)
}

func (f *fault) Unwrap() error { return f.err }

// parkable reports whether err is a handler's. A fault of the database is never that, whatever the handler made of it;
// and what a handler returns once its context has ended tells of that end.
//
// The whole of err is looked at, for a transaction in which a statement has met a fault of the store puts that in front
// of whatever the handler made of it. A commit that is refused for what the transaction holds may be a handler's, too:
// one that has passed over the error of a statement.
func parkable(ctx context.Context, err error) bool {
	var f *fault
	if !errors.As(err, &f) && !errors.Is(err, sqldb.ErrRejected) {
		return false
	}
	return ctx.Err() == nil && !storeFault(err)
}

// storeFault reports whether err tells of the database or of a time that is over, and not of an event.
func storeFault(err error) bool {
	return sqldb.IsStoreFault(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// stage is what waits for the handler of one batch route: many rows a statement is what makes catching up fast.
type stage struct {
	route  *Route
	events []bus.Event
}

// stages gathers events for batches, so that the order within a key is kept: a key waits in one stage at a time.
type stages struct {
	all  []*stage
	keys map[string]*stage // nil where there is one route only, and nothing to keep apart
	room int
}

// run calls the handlers of those jobs that are still to be done, in order within each key. Events of different keys may
// be handled in another order than they came in: nothing is promised about it. After an error nothing of it counts.
func (a *attempt) run(ctx context.Context, jobs []job) error {
	s := stages{room: len(jobs)}
	if a.routes.effects > 1 && len(jobs) > 1 {
		s.keys = make(map[string]*stage, len(jobs))
	}
	for i := range jobs {
		j := &jobs[i]
		if !a.open(j) {
			continue
		}
		if r := j.h.effect; r != nil {
			if err := a.effect(ctx, &s, r, j); err != nil {
				return err
			}
		}
		if err := a.tellQueued(ctx, j); err != nil {
			return err
		}
	}
	for _, st := range s.all {
		if err := a.flush(ctx, &s, st); err != nil {
			return err
		}
	}
	for i := range jobs {
		if jobs[i].was == jobOpen {
			jobs[i].was = jobDone
		}
	}
	return nil
}

// open reports whether j's handler is to be called. What no route takes has none.
func (a *attempt) open(j *job) bool {
	switch {
	case j.was != jobOpen:
	case j.h == nil:
		j.was = jobStrange
	case a.waits(j):
		j.was = jobKept
	}
	return j.was == jobOpen
}

// waits reports whether j has to wait behind the front of its line. A late event, which fills a hole behind its key's
// mark, does so only where the hole is behind the front, too.
func (a *attempt) waits(j *job) bool {
	if len(a.barred) == 0 {
		return false
	}
	front, barred := a.barred[j.line()]
	return barred && !(j.late && j.ev.Version < front)
}

// effect runs the handler of r for j, or puts j's event to those that wait for it.
func (a *attempt) effect(ctx context.Context, s *stages, r *Route, j *job) error {
	// An earlier event of the key still waits for another handler: that one has to run first.
	if other := s.keys[j.ev.Key]; other != nil && other.route != r {
		if err := a.flush(ctx, s, other); err != nil {
			return err
		}
	}
	if j.h.up != nil {
		if err := a.call(ctx, j.ev, j.convert); err != nil {
			return err
		}
	}
	if r.batch == nil {
		return a.callEffect(ctx, j.ev, func(ctx context.Context) error { return r.event(ctx, a.tx, j.ev, j.message()) })
	}
	st := s.of(r)
	st.events = append(st.events, *j.ev)
	if j.made != nil {
		e := &st.events[len(st.events)-1]
		e.Type, e.DataType, e.Data = j.h.to, "", j.made.data
	}
	if s.keys != nil {
		s.keys[j.ev.Key] = st
	}
	return nil
}

func (s *stages) of(r *Route) *stage {
	for _, st := range s.all {
		if st.route == r {
			return st
		}
	}
	st := &stage{route: r, events: make([]bus.Event, 0, s.room)}
	s.all = append(s.all, st)
	return st
}

// flush hands a stage's events to its handler.
func (a *attempt) flush(ctx context.Context, s *stages, st *stage) error {
	if len(st.events) == 0 {
		return nil
	}
	batch := st.events
	// Its keys wait nowhere any more.
	for i := range batch {
		delete(s.keys, batch[i].Key)
	}
	st.events = nil
	var only *bus.Event // a batch of one names the event by itself
	if len(batch) == 1 {
		only = &batch[0]
	}
	return a.callEffect(ctx, only, func(ctx context.Context) error { return named(batch, st.route.batch(ctx, a.tx, batch)) })
}

// named finds the event that a batch's error names.
func named(batch []bus.Event, err error) error {
	if i, ok := bus.FaultyEvent(err); ok && i >= 0 && i < len(batch) {
		return &fault{&batch[i], err}
	}
	return err
}

// callEffect calls a handler that has the transaction. Rows that it has left open are nobody's business after it: neither
// the next handler's, nor that of who takes it back.
func (a *attempt) callEffect(ctx context.Context, e *bus.Event, handler func(context.Context) error) error {
	defer sqldb.CloseRows(a.tx)
	return a.call(ctx, e, handler)
}

// call calls a handler. A panic is an error like another, with the stack in the log: one bad event must not take the
// service down, and everything else with it.
func (in *Inbox) call(ctx context.Context, e *bus.Event, handler func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			in.log.ErrorContext(ctx, "a handler panicked", "panic", text8(fmt.Sprint(p)), "stack", string(debug.Stack()))
			err = &fault{e, fmt.Errorf("panic: %v", p)}
		}
	}()
	err = handler(ctx)
	var f *fault
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &fault{e, err}
}
