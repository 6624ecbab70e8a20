package kafka

import (
	"github.com/tidings-dev/tidings/bus"
)

// work has one batch after the other handled, until the read-ahead is closed. It ends the session with an error
// that no repeating mends.
func (s *session) work() {
	for {
		h := s.queue.take(s.ctx)
		if h == nil {
			return
		}
		if err := s.handle(h); err != nil {
			s.fail(err)
			return
		}
	}
}

// handle has a delivery handled. Cut short because partitions were taken away, it has what is left handled again:
// the handler rolled back all of it, and only a part belongs to another member now.
//
// bus.Wrap has tried again whatever could be tried again. What comes through is one of four: done, done but for
// partitions whose position has moved, no use, or cut short.
func (s *session) handle(h *inHand) error {
	for h != nil {
		err := s.handler(h.ctx, h.batch.delivery())
		if err == nil {
			s.queue.finish(h)
			return nil
		}
		if at, ok := bus.RereadPositions(err); ok {
			again := partsAt(h, at)
			// Void at once, not when the poller gets to it: the next delivery must not go on where this one left off.
			s.queue.finish(h, again...)
			s.command(func() { s.reread(again) })
			return nil
		}
		if bus.IsPermanent(err) || h.ctx.Err() == nil { // an error of any other kind is nobody's to mend either
			s.queue.drop(h)
			return err
		}
		h = s.queue.again(s.ctx, h)
	}
	return nil
}

// partsAt finds the partitions that a handler named; others than those of its delivery mean nothing.
func partsAt(h *inHand, at []bus.Position) []*part {
	var parts []*part
	for _, s := range h.batch.spans {
		for _, pos := range at {
			if pos.Partition == s.pos.Partition && pos.Topic == s.pos.Topic {
				parts = append(parts, s.part)
				break
			}
		}
	}
	return parts
}
