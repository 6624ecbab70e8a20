package inbox

import (
	"context"
	"errors"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"google.golang.org/protobuf/proto"
)

// Delays between the tries of a reaction or of a parked event, and how long a reaction may go on after Run was told to
// stop.
const (
	firstRetry   = time.Second
	longestRetry = 10 * time.Minute
	stopGrace    = 5 * time.Second
)

// perform tries c once, and writes down what it came to.
func (p *performer) perform(ctx context.Context, c claimed) {
	// A reaction cut short may have happened all the same, and would be repeated. So one that is under way when
	// the service stops is given time to end.
	last, cancel := outlive(ctx, stopGrace)
	defer cancel()
	failed := p.once(last, &c)
	crashpoint.Pass("inbox.R2")
	cut := last.Err() != nil
	// A database that does not answer at all must not keep the service from stopping.
	store, giveUp := outlive(ctx, 2*stopGrace)
	defer giveUp()
	delays := newDelays(100*time.Millisecond, 5*time.Second)
	for {
		// What is not written down is repeated once the lease has run out: worth a try even now.
		err := p.writer.InTx(store, func(ctx context.Context, tx Tx) error {
			return p.settle(ctx, tx, &c, failed, cut)
		})
		if err == nil || last.Err() != nil {
			crashpoint.Pass("inbox.R3b")
			return
		}
		delay := delays.NextBackOff()
		p.log.WarnContext(ctx, "the outcome of a reaction could not be stored and will be tried again",
			"id", c.ev.ID, "after", delay, "err", err)
		wait(last, delay, nil)
	}
}

// outlive returns a context that ends d after ctx.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, func() { stop(); cancel() }
}

// once calls the handler of c, within the time that a try may take. The lease lasts twice as long, so a handler that
// heeds its context has ended long before another replica may take over.
func (p *performer) once(ctx context.Context, c *claimed) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	err := p.call(ctx, &c.ev, func(ctx context.Context) (err error) {
		var converted proto.Message
		if c.up != nil {
			if converted, err = c.up(&c.ev); err != nil {
				return err
			}
		}
		return c.route.react(ctx, c.ev, converted)
	})
	if f := (*fault)(nil); errors.As(err, &f) {
		return f.err
	}
	return err
}

// settle writes down what a try came to. cut says that the try ended because this process is stopping: that is not the
// reaction's fault, so it is not counted, and it is due at once.
func (p *performer) settle(ctx context.Context, tx Tx, c *claimed, failed error, cut bool) error {
	switch {
	case failed == nil:
		return p.leave(ctx, tx, c, Progress{State: Sent, Attempts: c.attempts})
	case cut:
		return p.again(ctx, tx, c, c.attempts-1, 0, failed)
	case bus.IsPermanent(failed), p.cfg.Attempts > 0 && c.attempts >= p.cfg.Attempts:
		return p.bury(ctx, tx, c, failed)
	}
	return p.again(ctx, tx, c, c.attempts, retryDelay(c.attempts, failed), failed)
}

// retryDelay is the one that the error asks for, or one that grows with the tries. It follows from their number alone,
// which stands in the table: a restart changes nothing.
func retryDelay(attempts int, failed error) time.Duration {
	if d, ok := bus.RetryDelay(failed); ok {
		return d
	}
	delays := newDelays(firstRetry, longestRetry)
	var d time.Duration
	for range min(attempts, 20) {
		d = delays.NextBackOff()
	}
	return d
}

// again puts c back into the queue, ahead of its key's later ones, for it keeps its place.
func (p *performer) again(ctx context.Context, tx Tx, c *claimed, attempts int, delay time.Duration, failed error) error {
	const text = `UPDATE tidings_inbox_queue SET state = $1, attempts = $2, due = $3, owner = '', error = $4 WHERE seq = $5 AND owner = $6`
	next := p.cfg.Now().Add(delay)
	r, err := tx.ExecContext(ctx, text, string(Retrying), attempts, next.UnixMilli(), text8(failed.Error()), c.seq, p.owner)
	if mine, err := p.mine(ctx, c, one(r, err)); !mine {
		return err
	}
	p.log.WarnContext(ctx, "a reaction failed and will be tried again", "id", c.ev.ID, "type", c.ev.Type, "key", c.ev.Key,
		"attempts", attempts, "after", delay, "err", failed)
	return p.tell(ctx, tx, c.route, &c.ev, Progress{State: Retrying, Attempts: attempts, Error: failed.Error(), Next: next, Time: p.cfg.Now()})
}

// leave takes c out of the queue, in a final state.
func (p *performer) leave(ctx context.Context, tx Tx, c *claimed, final Progress) error {
	final.Time = p.cfg.Now()
	if mine, err := p.remove(ctx, tx, c, final.Time); !mine {
		return err
	}
	crashpoint.Pass("inbox.R3a")
	return p.tell(ctx, tx, c.route, &c.ev, final)
}

// remove deletes c's row, if it is this process's, or is just being claimed: then it has no owner yet, or one whose
// lease has run out.
func (p *performer) remove(ctx context.Context, tx Tx, c *claimed, now time.Time) (mine bool, err error) {
	const text = `DELETE FROM tidings_inbox_queue WHERE seq = $1 AND (owner = $2 OR due <= $3)`
	r, err := tx.ExecContext(ctx, text, c.seq, p.owner, now.UnixMilli())
	return p.mine(ctx, c, one(r, err))
}

// mine reports whether c was still this process's to change, by the error of changing it. Another's is left alone.
func (p *performer) mine(ctx context.Context, c *claimed, err error) (bool, error) {
	if errors.Is(err, errMoved) {
		p.log.WarnContext(ctx, "a reaction took longer than its lease, and another has taken it over", "id", c.ev.ID)
		return false, nil
	}
	return err == nil, err
}

// bury parks c as dead, with its bytes and its place in the queue, for a person to look at. The key's later reactions go
// on.
func (p *performer) bury(ctx context.Context, tx Tx, c *claimed, why error) error {
	now := p.cfg.Now()
	if mine, err := p.remove(ctx, tx, c, now); !mine {
		return err
	}
	row := parkedRow{
		ev: &c.ev, state: stateDead, have: c.ev.Version, upto: c.ev.Version, reaction: true, seq: c.seq,
		attempts: c.attempts, why: errorText(why), time: now.UnixMilli(),
	}
	if err := p.storeRows(ctx, tx, []parkedRow{row}); err != nil {
		return err
	}
	p.log.ErrorContext(ctx, "a reaction is parked as dead", "id", c.ev.ID, "type", c.ev.Type, "key", c.ev.Key,
		"attempts", c.attempts, "err", why)
	return p.tell(ctx, tx, c.route, &c.ev, Progress{State: Dead, Attempts: c.attempts, Error: why.Error(), Time: now})
}
