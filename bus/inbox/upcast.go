package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/proto"
)

// upcaster converts the messages of one type into another's.
type upcaster struct {
	from, to string
	convert  func(e *bus.Event, m proto.Message) (proto.Message, error) // m is e's, converted so far; nil where e is of from
}

// upcast is a whole conversion, of one step or more: the message of e as its handlers take it.
type upcast func(e *bus.Event) (proto.Message, error)

// Upcast takes events of type Old to the routes of New, so that a service has one handler for both. fn converts, and does
// nothing else: it may be called more than once for an event, and at the same time for others. What it returns may lead
// to a further Upcast, from New to what comes after.
//
// The handlers of [On] and [After] get the event as it came, of type Old and with Old's bytes, and the message
// converted. Those of [Batch] get events with New's type and bytes, and with all else as it came. [Read] converts
// elsewhere, as in [Track]. Whatever is stored to be handled later, parked or queued, is stored as it came.
//
// An error of fn, or its panic, is the handler's: the event is parked, and tried again.
//
// [New] refuses an upcaster to a type that no On, Batch or After takes, two of one type, one of a type that has a route,
// and those that lead in a circle.
func Upcast[Old, New proto.Message](fn func(e bus.Event, m Old) (New, error)) Route {
	u := &upcaster{from: typeOf[Old](), to: typeOf[New]()}
	u.convert = func(e *bus.Event, m proto.Message) (proto.Message, error) {
		old, err := messageOf[Old](e, m)
		if err != nil {
			return nil, err
		}
		converted, err := fn(*e, old)
		if err == nil && !converted.ProtoReflect().IsValid() {
			err = errors.New("the upcaster returned nil")
		}
		if err != nil {
			return nil, fmt.Errorf("%s to %s: %w", u.from, u.to, err)
		}
		return converted, nil
	}
	return Route{upcaster: u, faults: missing(fn == nil, "Upcast")}
}

// Read returns the message of e as a handler of M gets it: decoded, or, where e is of an older type, converted by those
// of routes that [Upcast] has made. It is for what has an event and no message, such as the function of [Track]. An
// event of a type that does not lead to M is a [bus.Permanent] error, as with [bus.Decode].
func Read[M proto.Message](e bus.Event, routes ...Route) (M, error) {
	up, to := upcastersOf(routes).from(e.Type)
	if up == nil || to != typeOf[M]() {
		return bus.Decode[M](e)
	}
	m, err := up(&e)
	if err != nil {
		var none M
		return none, fmt.Errorf("inbox: read event %s: %w", e.ID, err)
	}
	return messageOf[M](&e, m)
}

// messageOf returns converted, or e's own message where nothing was converted.
func messageOf[M proto.Message](e *bus.Event, converted proto.Message) (M, error) {
	if converted == nil {
		return bus.Decode[M](*e)
	}
	m, ok := converted.(M)
	if !ok {
		return m, bus.Permanent(fmt.Errorf("inbox: event %s was converted to a %T, and is wanted as a %T", e.ID, converted, m))
	}
	return m, nil
}

// upcasters are those of the routes, by the type that they convert.
type upcasters map[string]*upcaster

func upcastersOf(routes []Route) upcasters {
	all := make(upcasters)
	for i := range routes {
		if u := routes[i].upcaster; u != nil {
			all[u.from] = u
		}
	}
	return all
}

// steps returns those that lead from a type to the last one; none where they lead in a circle.
func (all upcasters) steps(name string) (steps []*upcaster) {
	for u := all[name]; u != nil; u = all[u.to] {
		if slices.Contains(steps, u) {
			return nil
		}
		steps = append(steps, u)
	}
	return steps
}

// from joins the steps from a type; nil where there are none.
func (all upcasters) from(name string) (up upcast, to string) {
	steps := all.steps(name)
	if len(steps) == 0 {
		return nil, ""
	}
	return func(e *bus.Event) (m proto.Message, err error) {
		for _, u := range steps {
			if m, err = u.convert(e, m); err != nil {
				return nil, fmt.Errorf("upcast: %w", err)
			}
		}
		return m, nil
	}, steps[len(steps)-1].to
}

// addUpcasters gives the types that are converted the handlers of those that they lead to, and reports every fault.
func (t *table) addUpcasters(routes []Route) (faults []error) {
	all := upcastersOf(routes)
	taken := make(map[string]*handlers)
	for i := range routes {
		u := routes[i].upcaster
		if u == nil {
			continue
		}
		up, to := all.from(u.from)
		h := t.byType[to]
		switch {
		case t.byType[u.from] != nil:
			faults = append(faults, fmt.Errorf("type %s has both a route and an upcaster", u.from))
		case all[u.from] != u:
			faults = append(faults, fmt.Errorf("type %s has two upcasters", u.from))
		case up == nil:
			faults = append(faults, fmt.Errorf("the upcaster of type %s leads in a circle", u.from))
		case h == nil:
			faults = append(faults, fmt.Errorf("the upcaster of type %s leads to type %s, which no On, Batch or After takes", u.from, to))
		default:
			taken[u.from] = &handlers{effect: h.effect, after: h.after, up: up, to: to}
		}
	}
	maps.Copy(t.byType, taken)
	return faults
}

// converted is what an upcaster made of a job's event.
type converted struct {
	m    proto.Message
	data []byte // m's bytes, where a batch takes them
}

// convert makes the message that j's handlers take. The bytes for a batch are made once, for however often it is tried; a
// message is the handler's own, which may change it, and so is made anew for each try.
func (j *job) convert(context.Context) (err error) {
	if j.made != nil && j.h.effect.batch != nil {
		return nil
	}
	var c converted
	if c.m, err = j.h.up(j.ev); err == nil && j.h.effect.batch != nil {
		c.data, err = proto.Marshal(c.m)
	}
	if err == nil {
		j.made = &c
	}
	return err
}

// message returns what was made of j's event; nil where its handlers take it as it is.
func (j *job) message() proto.Message {
	if j.made == nil {
		return nil
	}
	return j.made.m
}
