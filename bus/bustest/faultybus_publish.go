package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

var (
	errRefused = fmt.Errorf("%w: refused", ErrFault)
	errAckLost = fmt.Errorf("%w: %w", ErrFault, ErrStored)
)

// Publish publishes as the bus within does, with the faults of [Faults] that concern publishing. An event or a topic
// that can't be sent at all fails the call before any fault strikes.
func (f *FaultyBus) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	for i := range events {
		if topic == "" || events[i].Validate() != nil {
			return f.Bus.Publish(ctx, topic, events...) // which says so
		}
	}
	f.delay(ctx, "publish "+topic, events)
	refused := f.failing("refuse", topic, f.faults.RefusePublish, events, errRefused)
	f.count(&f.counts.RefusePublish, len(refused))
	failed, err := f.publishOthers(ctx, topic, events, refused)
	if err != nil {
		return err
	}
	if len(refused) < len(events) {
		f.loseAcks(topic, events, failed)
	}
	if len(failed) == 0 {
		return nil
	}
	return &bus.PublishError{Topic: topic, Failed: failed}
}

// failing returns an error for each event that the fault strikes, and for those of its key behind it, by index. Nothing
// is told of where they are.
func (f *FaultyBus) failing(fault, topic string, rate float64, events []bus.Event, with error) map[int]error {
	failed := make(map[int]error)
	if rate <= 0 {
		return failed
	}
	stopped := make(map[string]bool) // keys
	for i := range events {
		e := &events[i]
		if !stopped[e.Key] {
			_, stopped[e.Key] = f.once(fault, topic, rate, e)
		}
		if stopped[e.Key] {
			failed[i] = with
			e.At, e.Heard = bus.Position{}, 0
		}
	}
	return failed
}

// publishOthers publishes what isn't refused, and returns all that has failed, by its index in events. An error that
// says nothing of single events comes as it is.
func (f *FaultyBus) publishOthers(ctx context.Context, topic string, events []bus.Event, refused map[int]error) (map[int]error, error) {
	var others []bus.Event
	var index []int // of others in events
	for i := range events {
		if refused[i] == nil {
			others, index = append(others, events[i]), append(index, i)
		}
	}
	if len(others) == 0 && len(events) > 0 {
		return refused, nil
	}
	err := f.publishAgain(ctx, topic, others)
	for i, e := range others {
		events[index[i]] = e // At, and who heard it
	}
	var partly *bus.PublishError
	switch {
	case err == nil:
		return refused, nil
	case !errors.As(err, &partly):
		return nil, err
	}
	for i, err := range partly.Failed {
		refused[index[i]] = err
	}
	return refused, nil
}

// publishAgain publishes once, or twice. The copy goes first, so that what is told of the events is told of the last
// one: whoever compares it with the end of the log finds them to agree.
func (f *FaultyBus) publishAgain(ctx context.Context, topic string, events []bus.Event) error {
	if _, ok := f.any("repeat", topic, f.faults.RepeatPublish, events); ok {
		if f.Bus.Publish(ctx, topic, slices.Clone(events)...) == nil {
			f.count(&f.counts.RepeatPublish, 1)
		}
	}
	return f.Bus.Publish(ctx, topic, events...)
}

// loseAcks fails events that are stored. What is told of those that failed already stays.
func (f *FaultyBus) loseAcks(topic string, events []bus.Event, failed map[int]error) {
	for i, err := range f.failing("lose", topic, f.faults.LoseAck, events, errAckLost) {
		if failed[i] != nil {
			continue
		}
		failed[i] = err
		f.count(&f.counts.LoseAck, 1)
	}
}
