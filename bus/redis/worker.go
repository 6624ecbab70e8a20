package redis

import (
	"context"
	"errors"

	"github.com/tidings-dev/tidings/bus"
)

// errEnding ends the context of the delivery in hand when the subscription has ended and drain is over.
var errEnding = errors.New("bus: the subscription ends")

// work has one delivery after the other handled, until the queue is over or ctx ends. It returns an error that no
// repeating mends.
func (s *subscription) work(ctx context.Context) error {
	b := &batch{}
	for !s.queue.over() {
		select {
		case <-ctx.Done():
			return nil
		case <-s.queue.filled:
		}
		if ctx.Err() != nil {
			return nil // what is left is counted, not begun
		}
		if b.messages = s.queue.take(b.messages, s.sub.MaxBatch); len(b.messages) == 0 {
			continue
		}
		if err := s.handle(ctx, b); err != nil {
			return err
		}
		b.reset()
	}
	return nil
}

// handle has a delivery handled. bus.Wrap has tried again whatever could be tried again. What comes through is one
// of four: done, done but for positions (which mean nothing here), no use, or cut short.
func (s *subscription) handle(ctx context.Context, b *batch) error {
	d := b.delivery()
	err := s.handler(ctx, d)
	if err == nil {
		return nil
	}
	if _, reread := bus.RereadPositions(err); reread {
		return nil
	}
	s.unhandled(d)
	if bus.IsPermanent(err) || ctx.Err() == nil { // an error of any other kind is nobody's to mend either
		return err
	}
	return nil
}

// unhandled tells of the events of a delivery that was not done: nobody will deliver them again.
func (s *subscription) unhandled(d bus.Delivery) {
	for i := range d.Events {
		s.teller.missed(d.Events[i].At.Topic, 1, reasonEnded)
	}
}

// reasonEnded is why events were received and not handled.
const reasonEnded = "the subscription ended before they were handled"
