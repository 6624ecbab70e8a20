package kafka

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// waitingBatches is how many full batches are read ahead of the one that is being handled. One would do for a
// handler that always takes the same time.
const waitingBatches = 2

// Why the context of a delivery ends.
var (
	errRevoked = errors.New("its partitions were taken away")
	errEnding  = errors.New("the subscription ends")
)

// readAhead stands between the poller, which fills batches, and the worker, which has them handled. Locks are taken
// once a batch, not once an event.
//
// What was read can become void before it is handled: its partition is taken away, or has to be read again from
// elsewhere. Each partition has an epoch for that, and each span of a batch remembers its own; where they differ
// the span is cut out. The poller learns of a new epoch by renew, so what it reads until then is void too.
type readAhead struct {
	max  int           // events a batch
	work chan struct{} // tells the worker that a batch is waiting
	room chan struct{} // tells the poller that one was taken

	mu      sync.Mutex
	waiting []*batch
	free    []*batch
	hand    *inHand
	closed  bool
	done    map[*part]int64 // handled up to here and not yet committed at the broker
	// committing is what the committer has taken of done: it comes back when it can't be committed, but for what has
	// been left meanwhile.
	committing map[*part]int64
}

// inHand is a delivery that is being handled.
type inHand struct {
	batch  *batch
	ctx    context.Context
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when the handler has returned
}

func newReadAhead(most int) *readAhead {
	return &readAhead{
		max: most, work: make(chan struct{}, 1), room: make(chan struct{}, 1),
		done: make(map[*part]int64),
	}
}

// notify never blocks: one notice that waits says all there is to say.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// open returns the batch to go on filling: the youngest that waits, if it has room, or an empty one. The poller
// has it for itself until put.
func (q *readAhead) open() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.waiting); n > 0 && !q.waiting[n-1].full(q.max) {
		b := q.waiting[n-1]
		q.waiting = q.waiting[:n-1]
		return b
	}
	if n := len(q.free); n > 0 {
		b := q.free[n-1]
		q.free = q.free[:n-1]
		return b
	}
	return newBatch(q.max)
}

// put hands b over to the worker, without what has become void since it was read.
func (q *readAhead) put(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !b.cut() || q.closed {
		q.recycle(b)
		return
	}
	q.waiting = append(q.waiting, b)
	notify(q.work)
}

// recycle keeps the memory of a batch for another. Handlers may not keep the slices of a delivery.
func (q *readAhead) recycle(b *batch) {
	b.reset()
	q.free = append(q.free, b)
}

// busy reports whether the worker has something to do.
func (q *readAhead) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.hand != nil || len(q.waiting) > 0
}

// full reports whether the poller has read far enough ahead.
func (q *readAhead) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) >= waitingBatches && q.waiting[len(q.waiting)-1].full(q.max)
}

// waitRoom waits until there is room or d has passed, and reports whether there is.
func (q *readAhead) waitRoom(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for q.full() {
		select {
		case <-q.room:
		case <-timer.C:
			return !q.full()
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// take waits for a batch and has it in hand until finish; nil when closed. ctx gives the delivery its values; it
// ends by revoke and close only.
func (q *readAhead) take(ctx context.Context) *inHand {
	for {
		if h, closed := q.tryTake(ctx); h != nil || closed {
			return h
		}
		<-q.work
	}
}

// tryTake is take without the waiting.
func (q *readAhead) tryTake(ctx context.Context) (h *inHand, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) == 0 {
		return nil, q.closed
	}
	b := q.waiting[0]
	q.waiting = append(q.waiting[:0], q.waiting[1:]...)
	notify(q.room)
	q.hand = newInHand(ctx, b)
	return q.hand, false
}

// newInHand gives a delivery a context of its own, which lives on when the subscription's has ended: the delivery in
// hand gets time to finish.
func newInHand(ctx context.Context, b *batch) *inHand {
	h := &inHand{batch: b, over: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return h
}

// finish takes note that h was handled, but for the partitions in again, which are void.
func (q *readAhead) finish(h *inHand, again ...*part) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range h.batch.spans {
		if !slices.Contains(again, s.part) {
			q.done[s.part] = s.next
		}
	}
	q.voidLocked(again)
	q.letGo(h)
	q.recycle(h.batch)
}

// drop ends what is in hand without taking it as handled.
func (q *readAhead) drop(h *inHand) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.letGo(h)
	q.recycle(h.batch)
}

// letGo ends what is in hand.
func (q *readAhead) letGo(h *inHand) {
	q.hand = nil
	h.cancel(nil)
	close(h.over)
}

// again returns what is left of a delivery that was cut short, in hand anew; nil when nothing is.
func (q *readAhead) again(ctx context.Context, h *inHand) *inHand {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.letGo(h)
	if q.closed || !h.batch.cut() {
		q.recycle(h.batch)
		return nil
	}
	q.hand = newInHand(ctx, h.batch)
	return q.hand
}

// void makes void what was read of the partitions and is not in hand, and returns what is in hand if it touches
// them.
func (q *readAhead) void(parts []*part) *inHand {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.voidLocked(parts)
	if q.hand != nil && q.hand.batch.touches(parts) {
		return q.hand
	}
	return nil
}

// voidLocked is void for those who have the lock.
func (q *readAhead) voidLocked(parts []*part) {
	if len(parts) == 0 {
		return
	}
	for _, p := range parts {
		p.epoch++
	}
	left := q.waiting[:0]
	for _, b := range q.waiting {
		if b.cut() {
			left = append(left, b)
		} else {
			q.recycle(b)
		}
	}
	clear(q.waiting[len(left):])
	q.waiting = left
	notify(q.room)
}

// renew makes valid what the poller reads of p from now on.
func (q *readAhead) renew(p *part) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.seen = p.epoch
}

// settled returns what was handled and is not committed yet, and takes it as committed.
func (q *readAhead) settled() map[*part]int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	done := q.done
	q.done = make(map[*part]int64)
	q.committing = maps.Clone(done)
	return done
}

// unsettle takes back the last settled: it could not be committed. A commit may take long to fail, and what was given
// up since stays out: its offset would be committed over that of its new reader, who is further.
func (q *readAhead) unsettle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p, next := range q.committing {
		if _, newer := q.done[p]; !newer {
			q.done[p] = next
		}
	}
	q.committing = nil
}

// leave forgets what could not be committed of partitions that are another member's now, or are read from elsewhere.
func (q *readAhead) leave(parts []*part) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range parts {
		delete(q.done, p)
		delete(q.committing, p)
	}
}

// close drops what waits, and ends the worker once it has nothing in hand. It returns what is in hand.
func (q *readAhead) close() *inHand {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.waiting = nil
	notify(q.work)
	return q.hand
}

// waitOver waits until the handler of h has returned, and cancels it when it takes longer than grace.
func (h *inHand) waitOver(grace time.Duration, why error) {
	if h == nil {
		return
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-h.over:
		return
	case <-timer.C:
		h.cancel(why)
	}
	<-h.over
}
