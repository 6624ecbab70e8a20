package inbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	"google.golang.org/protobuf/proto"
)

// Tx is the transaction that holds an event's effect, its mark and the new positions. Statements take $1, $2 … in
// order of appearance, and those that are executed are prepared once by their text: give multi-row statements a few
// fixed sizes. A handler must not commit or roll it back, nor use it after it has returned.
type Tx = sqldb.Tx

// Route takes events of some types to a handler. Make one with [On], [Batch], [Any], [After] or [Upcast].
type Route struct {
	types  []string
	any    bool // takes the types that no other route takes
	event  func(ctx context.Context, tx Tx, e *bus.Event, converted proto.Message) error
	batch  func(ctx context.Context, tx Tx, batch []bus.Event) error
	react  func(ctx context.Context, e bus.Event, converted proto.Message) error
	track  func(ctx context.Context, tx Tx, e bus.Event, p Progress) error
	faults []error

	upcaster *upcaster // and then nothing else
}

// On takes events of type M to fn, one by one, inside the transaction: what fn does through tx happens exactly once
// for each event, whatever is delivered again or cut short. fn may be called again for an event whose transaction
// was rolled back, so it keeps nothing outside tx.
//
// An error, or a panic, parks the event, with what fn did for it undone, and the rest goes on. It is tried again by
// itself, after a growing delay (1 s to 10 min) or [bus.RetryAfter]'s, until Config.Attempts are spent; [bus.Permanent]
// makes it dead at once. With [Every] the key's later events wait behind it; with [Newest] the next version makes up for
// it. But a fault of the store, such as an error of tx that tells of it, rolls the whole delivery back, which comes again.
func On[M proto.Message](fn func(ctx context.Context, tx Tx, e bus.Event, m M) error) Route {
	return Route{types: []string{typeOf[M]()}, faults: missing(fn == nil, "On"), event: func(ctx context.Context, tx Tx, e *bus.Event, converted proto.Message) error {
		m, err := messageOf[M](e, converted)
		if err != nil {
			return err
		}
		return fn(ctx, tx, *e, m)
	}}
}

// Batch takes events of the types of the messages given to fn, many at once, inside the transaction, as [On] does:
// for statements that change many rows. They are in order within a key, and a key may stand there more than once.
// A delivery may be cut into several batches where the order within a key demands it.
//
// [bus.AtEvent] names the event at fault by its index in the batch. After an error that names none fn is called with
// halves of the batch, and halves of those, until the event at fault is found; only that one is parked: see [On].
func Batch(fn func(ctx context.Context, tx Tx, batch []bus.Event) error, types ...proto.Message) Route {
	r := Route{batch: fn, faults: missing(fn == nil, "Batch")}
	if len(types) == 0 {
		r.faults = append(r.faults, errors.New("Batch: no types are given"))
	}
	for i, m := range types {
		if m == nil {
			r.faults = append(r.faults, fmt.Errorf("Batch: types[%d] is nil", i))
			continue
		}
		r.types = append(r.types, string(m.ProtoReflect().Descriptor().FullName()))
	}
	return r
}

// Any takes the events that no other route takes, of whatever type, as [Batch] does: for what keeps events without
// having to know what they say, such as a history, which has to keep those of types that it has never heard of too. So
// it can read every type: of twins (see [bus.NewTwins]) it takes the first, and what a route has for the others is not
// called. It takes events as they came: no [Upcast] leads to it.
func Any(fn func(ctx context.Context, tx Tx, batch []bus.Event) error) Route {
	return Route{any: true, batch: fn, faults: missing(fn == nil, "Any")}
}

func typeOf[M proto.Message]() string {
	var m M
	return string(m.ProtoReflect().Descriptor().FullName())
}

func missing(is bool, name string) []error {
	if !is {
		return nil
	}
	return []error{fmt.Errorf("%s: the handler is nil", name)}
}

// handlers is what is to be done with events of one type. Either of effect and after may be nil.
type handlers struct {
	effect *Route // of On or Batch
	after  *Route
	up     upcast // makes what they take of such an event; nil where they take it as it is
	to     string // the type that it makes
}

// table is what the routes add up to.
type table struct {
	byType  map[string]*handlers
	any     *handlers // of the types that are not there; nil where those are not taken
	effects int       // routes with an effect in the transaction
	after   bool      // whether there are reactions
}

// newTable puts the routes together, and reports every fault.
func newTable(routes []Route) (*table, error) {
	t := &table{byType: make(map[string]*handlers)}
	var faults []error
	if len(routes) == 0 {
		faults = append(faults, errors.New("no routes are given"))
	}
	for i := range routes {
		r := &routes[i]
		if r.event == nil && r.batch == nil && r.react == nil && r.upcaster == nil && r.faults == nil {
			r.faults = []error{fmt.Errorf("route %d is the zero Route", i)}
		}
		faults = append(faults, r.faults...)
		t.effects += t.count(r)
		for _, name := range r.types {
			faults = append(faults, t.add(name, r))
		}
		if r.any && t.any != nil {
			faults = append(faults, errors.New("there are two routes made by Any"))
		}
		if r.any {
			t.any = &handlers{effect: r}
		}
	}
	faults = append(faults, t.addUpcasters(routes)...)
	return t, errors.Join(faults...)
}

// of returns the handlers of a type; nil where no route takes it.
func (t *table) of(name string) *handlers {
	if h := t.byType[name]; h != nil {
		return h
	}
	return t.any
}

func (t *table) count(r *Route) int {
	switch {
	case r.upcaster != nil:
		return 0
	case r.react != nil:
		t.after = true
		return 0
	}
	return 1
}

func (t *table) add(name string, r *Route) error {
	h := t.byType[name]
	if h == nil {
		h = &handlers{}
		t.byType[name] = h
	}
	place := &h.effect
	if r.react != nil {
		place = &h.after
	}
	if *place != nil {
		return fmt.Errorf("type %s has two routes of a kind; only After may stand beside another", name)
	}
	*place = r
	return nil
}
