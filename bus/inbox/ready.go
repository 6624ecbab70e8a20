package inbox

import (
	"context"
	"errors"
	"sync"

	"github.com/tidings-dev/tidings/bus"
)

// readiness joins what the bus says of the subscription with what deliveries come to.
type readiness struct {
	mu         sync.Mutex
	tell       func(bool) // nil where nobody wants to know
	bus, stuck bool       // a delivery is stuck until it, or another one, succeeds
	told       bool
	loud       bool        // the rule of a bad release was told
	forget     func() bool // ends the watch on the delivery that failed last
}

func (r *readiness) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	if is := r.bus && !r.stuck; is != r.told {
		r.told = is
		if r.tell != nil {
			r.tell(is)
		}
	}
}

// busSays is the subscription's OnReady.
func (r *readiness) busSays(is bool) { r.set(func() { r.bus = is }) }

// taken says that a delivery has succeeded.
func (r *readiness) taken() { r.set(func() { r.stuck, r.loud = false, false }) }

// failed says that a delivery has failed and will come again. Until one succeeds, or this one is taken away with the end
// of its context, the service is not ready.
func (in *Inbox) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // nobody is at fault
	}
	r, loud := &in.ready, false
	r.set(func() {
		r.stuck = true
		loud = !r.loud && errors.Is(err, errBadRelease)
		r.loud = r.loud || loud
		if r.forget != nil {
			r.forget()
		}
		r.forget = context.AfterFunc(ctx, in.unstuck)
	})
	if loud {
		in.log.ErrorContext(ctx, "NOTHING MORE IS TAKEN IN: so many events fail that the handlers must be at fault, and not the events. "+
			"Mend this release, or take it back; until then the delivery is tried again and again", "err", err)
	}
}

// unstuck says that the delivery that is stuck is no longer this process's. The end of Run takes it away, too, but makes
// nobody ready.
func (in *Inbox) unstuck() {
	if run := in.run.Load(); run != nil && (*run).Err() == nil {
		in.ready.set(func() { in.ready.stuck = false })
	}
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
