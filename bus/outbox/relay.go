package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// pace holds the times and bounds of a relay.
type pace struct {
	lease   time.Duration // how long a relay that died is waited for
	skew    time.Duration // by how much the clocks of the replicas' hosts may differ
	standby time.Duration // between looks at the lease by those who wait for it
	look    time.Duration // between looks for events that no wake told of
	answer  time.Duration // for the database, where it may be out of reach

	batch      int // events read and published at a time
	batchBytes int // … unless they are as large as this
	pass       int // events of a pass

	patience time.Duration // for a publish while all is well
	partly   time.Duration // … while some keys are held back, but others get through
	away     time.Duration // … while nothing gets through
	grace    time.Duration // for what is being published when the relay is to stop

	firstDelay, lastDelay time.Duration // between trials of keys that are held back
	probe                 int           // keys tried at a time, at first
	maxHeld               int           // keys held back
	maxSkipped            int           // events that a pass goes past

	beat time.Duration // after the last publishing on a stream, its highest number is repeated

	purgeEvery time.Duration
	purgeStep  int // rows looked at in one transaction

	compare    time.Duration // between looks at what the log holds
	slack      int64         // events that may have been published and not marked
	resendStep int           // rows looked at in one transaction
}

// What is different where replicas on several hosts share a database.
const (
	otherLook = 100 * time.Millisecond // what another replica has committed is found by looking
	otherSkew = time.Minute
)

// defaultPace is what every relay has outside of tests.
func defaultPace() pace {
	return pace{
		lease: 3 * time.Second, standby: 100 * time.Millisecond, look: time.Second, answer: 30 * time.Second,
		// Reading ahead with batches of 5,000 is forty times as fast as batches of 100, one after another.
		batch: 5000, batchBytes: 8 << 20, pass: 100_000,
		// A broker that dies is replaced within ten seconds by default; to wait that long doubles nothing.
		patience: 15 * time.Second, partly: 2 * time.Second, away: 5 * time.Second, grace: time.Second,
		firstDelay: 250 * time.Millisecond, lastDelay: 5 * time.Second,
		probe: 16, maxHeld: 10_000, maxSkipped: 100_000,
		beat: 5 * time.Second, purgeEvery: time.Minute, purgeStep: 500,
		compare: 5 * time.Second, slack: 10_000, resendStep: 2000,
	}
}

// Relay publishes to b what was committed, until ctx ends; then it lets what is being published finish for a second
// at most, and returns nil. It returns an error that wraps [bus.ErrClosed] when b was closed. Everything else it waits
// out and logs: a broker that is away, and a database that is locked, full or not to be read.
//
// However many relays run on a database, in however many processes, one works at a time: it holds a lease of three
// seconds, which the next one takes at once when it was given back, and otherwise when it has run out. On SQLite Relay
// keeps one connection of the pool while it runs, and needs another one to read.
//
// See the package documentation for order, repeats and what happens when a key can't be published.
func (o *Outbox) Relay(ctx context.Context, b bus.Bus) error {
	defer o.w.Hold()()
	r := newRelay(o, b, uuid.NewString())
	for {
		if err := r.acquire(ctx); err != nil {
			return nil // ctx has ended
		}
		crashpoint.Pass("outbox.3a")
		err := r.lead(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, bus.ErrClosed):
			return fmt.Errorf("outbox: relay: %w", err)
		}
		o.log.WarnContext(ctx, "outbox: another relay has taken over", "err", err)
	}
}

// relay is one call of Relay. One goroutine leads; its helpers touch only what they are handed.
type relay struct {
	*Outbox
	bus     bus.Bus
	hasLog  bool   // the bus keeps a log; where it doesn't, events are numbered
	settled bool   // it does, and nothing that is unsent has a number any more
	holder  string // the name under which it holds the lease
	lost    context.CancelCauseFunc

	view interface { // what a pass reads from: see snapshot
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	}

	mu      sync.Mutex
	renewed time.Time // when the lease was last renewed

	held    *held       // keys, on a bus with a log
	topics  *heldTopics // … and whole topics on one without
	beats   *beats
	logs    *comparison
	skipped int                         // events of this pass that belong to keys held back
	past    time.Duration               // what it took in this pass to go past topics held back
	faults  *backoff.ExponentialBackOff // delays after faults of the database
}

// newRelay makes a relay that does not lead yet.
func newRelay(o *Outbox, b bus.Bus, holder string) *relay {
	return &relay{
		Outbox: o, view: o.db, bus: b, hasLog: bus.KeepsLog(b), holder: holder, faults: newDelays(o.pace),
		held: newHeld(o.pace), topics: newHeldTopics(o.pace), beats: newBeats(o.pace.beat),
		logs: newComparison(nil, false),
	}
}

// newDelays makes growing delays with jitter, for one thing that is tried again.
func newDelays(p pace) *backoff.ExponentialBackOff {
	d := &backoff.ExponentialBackOff{
		InitialInterval: p.firstDelay, MaxInterval: p.lastDelay,
		Multiplier: 2, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	d.Reset()
	return d
}

// lead works while it holds the lease, and gives it back.
func (r *relay) lead(ctx context.Context) error {
	ctx, r.lost = context.WithCancelCause(ctx) // ended early by whoever finds the lease gone
	r.logs = newComparison(r.bus, r.hasLog)
	var helpers sync.WaitGroup
	helpers.Go(func() { r.keepRenewing(ctx) })
	helpers.Go(func() { r.keepPurging(ctx) })
	r.log.InfoContext(ctx, "outbox: relaying", "holder", r.holder)
	r.held, r.topics, r.beats, r.settled = newHeld(r.pace), newHeldTopics(r.pace), newBeats(r.pace.beat), false
	err := r.run(ctx)
	r.lost(nil)
	r.logs.finish()
	helpers.Wait()
	r.giveBack(ctx)
	return err
}

// run makes pass after pass, whenever there may be something to send.
func (r *relay) run(ctx context.Context) error {
	for {
		more, err := r.turn(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.reportHeld(ctx, r.held.end(time.Now()))
		switch {
		case errors.Is(err, bus.ErrClosed):
			return err
		case err != nil:
			delay := r.faults.NextBackOff()
			r.log.ErrorContext(ctx, "outbox: the database can't be read or written; the relay waits", "err", err, "after", delay)
			sleep(ctx, delay)
		default:
			r.faults.Reset()
			if more {
				continue
			}
			if err := r.beat(ctx); err != nil {
				return err
			}
			r.idle(ctx)
		}
	}
}

// turn is a pass and what comes before it.
func (r *relay) turn(ctx context.Context) (more bool, err error) {
	if r.hasLog && !r.settled {
		if err := r.dropNumbers(ctx); err != nil {
			return false, err
		}
		r.settled = true
	}
	if err := r.compareLogs(ctx); err != nil {
		return false, err
	}
	now := time.Now()
	r.held.begin(now) // let go at the start of a pass only, for the order of their events
	r.topics.begin(now)
	return r.pass(ctx)
}

// idle waits until there may be something to send. To go past many events that are held back has its price, so that
// it is not done for each commit.
func (r *relay) idle(ctx context.Context) {
	wait := r.pace.look
	if left, some := r.held.next(time.Now()); some && (r.held.nothing || left < wait) {
		wait = left
	}
	if r.logs.soon() {
		wait = min(wait, r.pace.firstDelay)
	}
	if left, some := r.topics.next(time.Now()); some && left < wait {
		wait = left
	}
	if left, some := r.untilBeat(time.Now()); some && left < wait {
		wait = left
	}
	if rest := min(wait, max(10*r.past, time.Duration(r.skipped)*10*time.Microsecond)); rest > 0 {
		sleep(ctx, rest)
		wait -= rest
	}
	wake := r.wake
	if r.held.nothing {
		wake = nil // what was just committed gets through no more than the rest
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// reportHeld logs when keys are held back, each time that they were tried in vain, and when all is well again.
func (r *relay) reportHeld(ctx context.Context, change heldChange) {
	switch change.kind {
	case heldMore:
		r.log.WarnContext(ctx, "outbox: events could not be published; their keys are held back and tried again",
			"keys", change.keys, "after", change.delay, "err", change.err)
	case heldNone:
		r.log.InfoContext(ctx, "outbox: all keys get through again")
	}
}

// bounded is ctx for work of the relay's own. A Postgres that is paused or out of reach is given up after a while, so
// that a relay that can't do its work says so, and can stop; another one may be able to.
func (r *relay) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.w.Dialect() == sqldb.Postgres {
		return context.WithTimeout(ctx, r.pace.answer)
	}
	return ctx, func() {}
}

// looking is bounded for a look through the pool, which on SQLite takes milliseconds and need not be cut short.
func (r *relay) looking(ctx context.Context) (context.Context, context.CancelFunc) {
	return r.bounded(r.stable(ctx))
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
