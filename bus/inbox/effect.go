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
	return fmt.Sprintf("inbox: handler of event %s (%s %s, version %d): %v", f.ev.ID, f.ev.Type, f.ev.Key, f.ev.Version, f.err)
}

func (f *fault) Unwrap() error { return f.err }

// parkable reports whether err is a handler's, and says that the event can never be taken. A fault of the database is
// never that, whatever the handler made of it.
//
// The whole of err is looked at, for a transaction in which a statement has met a fault of the store puts that in front
// of whatever the handler made of it.
func parkable(err error) bool {
	var f *fault
	return errors.As(err, &f) && bus.IsPermanent(f.err) && !storeFault(err)
}

// storeFault reports whether err tells of the database or of a time that is over, and not of an event.
func storeFault(err error) bool {
	return sqldb.IsStoreFault(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// retriable hides from the bus what would end the subscription: every error means that the delivery is to come again.
func retriable(err error) error {
	_, reread := bus.RereadPositions(err)
	if !reread && !bus.IsPermanent(err) {
		return err
	}
	plain := errors.New(err.Error())
	if d, ok := bus.RetryDelay(err); ok {
		return bus.RetryAfter(d, plain)
	}
	return plain
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
}

// apply runs the handlers of everything that is to be done, in order within each key. Events of different keys may
// be handled in another order than they came in: nothing is promised about it.
func (a *attempt) apply(ctx context.Context) error {
	var s stages
	if a.routes.effects > 1 && len(a.todo) > 1 {
		s.keys = make(map[string]*stage, len(a.todo))
	}
	for i := range a.todo {
		if err := a.applyOne(ctx, &s, &a.todo[i]); err != nil {
			return err
		}
	}
	for _, st := range s.all {
		if err := a.flush(ctx, &s, st); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) applyOne(ctx context.Context, s *stages, j *job) error {
	if j.h == nil {
		return a.unknown(ctx, j.ev)
	}
	parked, err := false, error(nil)
	switch r := j.h.effect; {
	case r == nil:
	case a.careful:
		parked, err = a.effectAlone(ctx, r, j.ev)
	default:
		err = a.effect(ctx, s, r, j.ev)
	}
	if parked || err != nil {
		return err
	}
	a.remember(j)
	return a.react(ctx, j)
}

// remember keeps the last version of a key that was applied, where it may be needed to say what is before a parked one.
func (a *attempt) remember(j *job) {
	if !a.careful && a.cfg.Unknown != Park {
		return
	}
	if a.applied == nil {
		a.applied = make(map[sourceKey]uint64)
	}
	a.applied[sourceKey{j.source, j.ev.Key}] = j.ev.Version
}

// effect runs the handler of r for e, or puts e to those that wait for it.
func (a *attempt) effect(ctx context.Context, s *stages, r *Route, e *bus.Event) error {
	// An earlier event of the key still waits for another handler: that one has to run first.
	if other := s.keys[e.Key]; other != nil && other.route != r {
		if err := a.flush(ctx, s, other); err != nil {
			return err
		}
	}
	if r.batch == nil {
		return a.call(ctx, e, func(ctx context.Context) error { return r.event(ctx, a.tx, e) })
	}
	st := s.of(r, len(a.todo))
	st.events = append(st.events, *e)
	if s.keys != nil {
		s.keys[e.Key] = st
	}
	return nil
}

func (s *stages) of(r *Route, room int) *stage {
	for _, st := range s.all {
		if st.route == r {
			return st
		}
	}
	st := &stage{route: r, events: make([]bus.Event, 0, room)}
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
	return a.call(ctx, nil, func(ctx context.Context) error { return named(batch, st.route.batch(ctx, a.tx, batch)) })
}

// named finds the event that a batch's error names.
func named(batch []bus.Event, err error) error {
	if i, ok := bus.FaultyEvent(err); ok && i >= 0 && i < len(batch) {
		return &fault{&batch[i], err}
	}
	return err
}

// call calls a handler. A panic is an error like another, with the stack in the log: one bad event must not take the
// service down, and everything else with it.
func (in *Inbox) call(ctx context.Context, e *bus.Event, handler func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			in.log.ErrorContext(ctx, "a handler panicked", "panic", p, "stack", string(debug.Stack()))
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

// effectAlone runs the handler of r for one event, in a savepoint, and parks the event if it can never be taken.
func (a *attempt) effectAlone(ctx context.Context, r *Route, e *bus.Event) (parked bool, err error) {
	err = a.savepoint(ctx, func() error {
		return a.call(ctx, e, func(ctx context.Context) error {
			if r.batch != nil {
				return r.batch(ctx, a.tx, []bus.Event{*e})
			}
			return r.event(ctx, a.tx, e)
		})
	})
	// Inside the transaction nobody has put anything in front of the error yet.
	if !parkable(err) || sqldb.Fault(a.tx) != nil {
		return false, err
	}
	return true, a.park(ctx, e, stateDead, err)
}

// savepoint runs fn so that its error takes back what fn did, and nothing else.
func (a *attempt) savepoint(ctx context.Context, fn func() error) error {
	if _, err := a.tx.ExecContext(ctx, `SAVEPOINT tidings_inbox`); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		_, released := a.tx.ExecContext(ctx, `RELEASE SAVEPOINT tidings_inbox`)
		if !passedOver(released) {
			return released
		}
		// Postgres takes nothing more after a statement that failed. It is the handler's error as if it had returned it.
		err = &fault{err: fmt.Errorf("the error of a statement was passed over: %w", released)}
	}
	// What can't be taken back must not be committed: the whole transaction has to go.
	for _, text := range [...]string{`ROLLBACK TO SAVEPOINT tidings_inbox`, `RELEASE SAVEPOINT tidings_inbox`} {
		if _, back := a.tx.ExecContext(ctx, text); back != nil {
			return fmt.Errorf("%w, and it could not be taken back: %w", sqldb.ErrNotCommitted, errors.Join(err, back))
		}
	}
	return err
}

// passedOver reports whether a statement is refused because one before it has failed.
func passedOver(err error) bool {
	const inFailedTransaction = "25P02"
	var s interface{ SQLState() string }
	return errors.As(err, &s) && s.SQLState() == inFailedTransaction
}

// unknown takes an event of a type that no route takes. Either way its mark moves on, for the key's history does.
func (a *attempt) unknown(ctx context.Context, e *bus.Event) error {
	if a.cfg.Unknown == Park {
		return a.park(ctx, e, stateUnknown, fmt.Errorf("no route takes events of type %s", e.Type))
	}
	a.ignored.add(e.Type, 1)
	return nil
}
