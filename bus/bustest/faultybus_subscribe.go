package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tidings-dev/tidings/bus"
)

var errCut = fmt.Errorf("%w: the subscription was cut", ErrFault)

// Subscribe subscribes as the bus within does, with the faults of [Faults] that concern deliveries. Where those cut it,
// it is several subscriptions there, one after the other.
func (f *FaultyBus) Subscribe(ctx context.Context, s bus.Subscription, h bus.Handler) error {
	for again := false; ; again = true {
		cut, err := f.subscribeOnce(ctx, s, h, again && !f.Guarantees().Durable)
		if err != nil || !cut || ctx.Err() != nil {
			return err
		}
	}
}

// subscribeOnce subscribes until ctx ends or a fault cuts the subscription. With lossy, what was published since the
// one before it is told as lost.
func (f *FaultyBus) subscribeOnce(ctx context.Context, s bus.Subscription, h bus.Handler, lossy bool) (wasCut bool, err error) {
	within, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	if lossy {
		s.OnReady = tellLoss(ctx, s)
	}
	err = f.Bus.Subscribe(within, s, func(ctx context.Context, d bus.Delivery) error {
		return f.deliver(ctx, s.Group, d, h, func() { cut(errCut) })
	})
	return errors.Is(context.Cause(within), errCut), err
}

// tellLoss is an OnReady that also tells of a loss, once it is known when that ended.
func tellLoss(ctx context.Context, s bus.Subscription) func(ready bool) {
	var once sync.Once
	return func(ready bool) {
		if s.OnReady != nil {
			s.OnReady(ready)
		}
		if !ready || s.OnGap == nil {
			return
		}
		once.Do(func() {
			for _, topic := range s.Topics {
				s.OnGap(ctx, bus.Gap{At: bus.Position{Topic: topic, Offset: -1}, Reason: errCut.Error()})
			}
		})
	}
}

// deliver is one try at a delivery. An error that a fault made up has it come again at once.
func (f *FaultyBus) deliver(ctx context.Context, group string, d bus.Delivery, h bus.Handler, cut func()) error {
	scope := "deliver " + group
	struck := func(fault string, rate float64, counter *int) bool {
		_, ok := f.any(fault, scope, rate, d.Events)
		if ok {
			f.count(counter, 1)
		}
		return ok
	}
	if f.delay(ctx, scope, d.Events); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if struck("before", f.faults.FailBefore, &f.counts.FailBefore) {
		return bus.RetryAfter(0, fmt.Errorf("%w: before the handler", ErrFault))
	}
	if struck("cut", f.faults.Cut, &f.counts.Cut) {
		cut()
	}
	bent := f.mix(f.drop(group, d))
	if isEmpty(bent) && !isEmpty(d) {
		return nil
	}
	err := h(ctx, clone(bent))
	if err == nil && struck("again", f.faults.RepeatDelivery, &f.counts.RepeatDelivery) {
		err = h(ctx, clone(bent))
	}
	if err == nil && struck("after", f.faults.FailAfter, &f.counts.FailAfter) {
		return bus.RetryAfter(0, fmt.Errorf("%w: after the handler", ErrFault))
	}
	return err
}

// clone gives a handler slices of its own.
func clone(d bus.Delivery) bus.Delivery {
	return bus.Delivery{
		Events: slices.Clone(d.Events), Ranges: slices.Clone(d.Ranges), Heartbeats: slices.Clone(d.Heartbeats),
	}
}

func isEmpty(d bus.Delivery) bool { return len(d.Events)+len(d.Ranges)+len(d.Heartbeats) == 0 }

// drop leaves events out. They are left out again whenever they come.
func (f *FaultyBus) drop(group string, d bus.Delivery) bus.Delivery {
	if f.faults.Drop <= 0 {
		return d
	}
	d.Events = slices.DeleteFunc(slices.Clone(d.Events), func(e bus.Event) bool {
		if _, ok := f.once("drop", group, f.faults.Drop, &e); ok {
			f.count(&f.counts.Drop, 1)
		}
		_, ok := f.chosen("drop", f.faults.Drop, &e)
		return ok
	})
	return d
}

// mix gives the delivery's places to its keys anew. It decides by the events alone, for a delivery that comes again
// has to be the same one.
func (f *FaultyBus) mix(d bus.Delivery) bus.Delivery {
	i := slices.IndexFunc(d.Events, func(e bus.Event) bool {
		_, ok := f.chosen("reorder", f.faults.Reorder, &e)
		return ok
	})
	if i < 0 || slices.ContainsFunc(d.Events, func(e bus.Event) bool { return e.Err != nil }) {
		return d
	}
	waiting := make(map[string][]bus.Event) // by key, in order
	order := make([]string, len(d.Events))
	for i, e := range d.Events {
		order[i] = e.Key
		waiting[e.Key] = append(waiting[e.Key], e)
	}
	f.dice("mix", identity(&d.Events[i])).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	d.Events = make([]bus.Event, len(order))
	for i, key := range order {
		d.Events[i], waiting[key] = waiting[key][0], waiting[key][1:]
	}
	f.count(&f.counts.Reorder, 1)
	return d
}
