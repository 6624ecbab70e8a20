package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	"golang.org/x/sync/errgroup"
)

// Inbox takes the events of topics into one database: see the package's documentation. Make one with [New]. Its
// methods are safe for concurrent use; Run runs once at a time.
type Inbox struct {
	cfg    Config
	log    *slog.Logger
	group  string // on the wire
	routes *table
	every  bool
	sql    *statements
	writer *sqldb.Writer

	forUpdate string // ends a SELECT whose rows other replicas must leave alone until the transaction ends

	sources    sources
	waiters    waiters
	places     places
	pace       pace
	ready      readiness
	running    atomic.Bool
	lossy      atomic.Bool                     // the bus in Run is not durable
	broker     atomic.Pointer[bus.Inspector]   // of the bus in Run; nil without one
	held       chan struct{}                   // wakes the timer of waiting events
	queued     chan struct{}                   // wakes the workers of reactions
	wakeParked chan struct{}                   // wakes the timer of parked events
	run        atomic.Pointer[context.Context] // of Run; nil without one
}

// New checks the configuration and the routes, and returns an error that names every fault. It makes or migrates the
// inbox's tables in cfg.DB, and blocks while another process migrates them: replicas may start together. Call Run to
// start.
func New(cfg Config, routes ...Route) (*Inbox, error) {
	t, err := newTable(routes)
	if err := errors.Join(cfg.check(), err); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	cfg = cfg.withDefaults()
	in := &Inbox{
		cfg: cfg, log: cfg.Logger.With("group", cfg.Group), routes: t, every: cfg.Gaps == Every || t.after,
		held: make(chan struct{}, 1), queued: make(chan struct{}, 1), wakeParked: make(chan struct{}, 1),
		ready: readiness{tell: cfg.OnReady},
	}
	if in.writer, err = sqldb.Open(context.Background(), cfg.DB); err == nil {
		in.forUpdate = in.writer.Dialect().ForUpdate()
		in.sql = newStatements(in.forUpdate)
		err = in.migrate(context.Background())
	}
	if err == nil {
		err = in.warnIgnored(context.Background())
	}
	if err != nil {
		return nil, fmt.Errorf("inbox: group %q: %w", cfg.Group, err)
	}
	return in, nil
}

// Run subscribes to b and takes events in until ctx ends; then it lets what is in hand commit or roll back, waits for
// everything that it started, and returns nil. A bus that lacks Config.Require is refused at once by a
// *[bus.GuaranteeError]. A bus that is away is waited for, and an error of a handler or of the database is logged and
// tried again: neither ends Run.
func (in *Inbox) Run(ctx context.Context, b bus.Bus) error {
	if !in.running.CompareAndSwap(false, true) {
		return fmt.Errorf("inbox: group %q: Run is already running", in.cfg.Group)
	}
	defer in.running.Store(false)
	has := b.Guarantees()
	if lacks := has.Missing(in.cfg.Require); lacks != (bus.Guarantees{}) {
		return &bus.GuaranteeError{Group: in.group, Missing: lacks}
	}
	if without := has.Missing(bus.All()); without != (bus.Guarantees{}) {
		in.log.WarnContext(ctx, "this bus lacks guarantees, and the inbox does without", "without", without.String())
	}
	in.lossy.Store(!has.Durable)
	defer in.writer.Hold()()
	if i, ok := b.(bus.Inspector); ok {
		in.broker.Store(&i)
		defer in.broker.Store(nil)
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	in.run.Store(&ctx)
	defer in.run.Store(nil)
	in.ready.taken() // whatever was stuck in a Run before
	g.Go(func() error {
		defer stop()
		return in.subscribe(ctx, b)
	})
	if in.every {
		g.Go(func() error { return in.releaseWaiting(ctx) })
	}
	if in.routes.after {
		g.Go(func() error { return in.performReactions(ctx) })
	}
	g.Go(func() error { return in.retryParked(ctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("inbox: group %q: %w", in.cfg.Group, err)
	}
	return nil
}

func (in *Inbox) subscription() bus.Subscription {
	return bus.Subscription{
		Group: in.group, Topics: in.cfg.Topics, Start: in.cfg.Start, MaxBatch: in.cfg.MaxBatch,
		Require: in.cfg.Require, OnReady: in.ready.busSays, OnGap: in.cfg.OnGap, Resume: in.resume,
	}
}

// gapWait is how long missing versions are waited for.
func (in *Inbox) gapWait() time.Duration {
	if in.cfg.GapWait == 0 && in.lossy.Load() {
		return lossyGapWait
	}
	return orDefault(in.cfg.GapWait, defaultGapWait)
}

// handle takes one delivery in: one transaction. Its error makes the bus bring the delivery again, in order; the bus
// waits in between, and longer each time.
func (in *Inbox) handle(ctx context.Context, d bus.Delivery) error {
	a, err := in.transact(ctx, func(ctx context.Context, a *attempt) error { return a.deliver(ctx, d) })
	if err != nil {
		in.failed(ctx, err)
		return retriable(err)
	}
	in.ready.taken()
	in.places.taken(d.Ranges, a.reread)
	crashpoint.Pass("inbox.D9")
	return bus.Reread(a.reread...)
}

// maxMoved is how often one is outrun by other replicas before the bus is asked to wait.
const maxMoved = 10

// transact runs fn in a transaction of its own. Where a handler fails all is rolled back and done again, and the events
// at fault are sifted out.
//
// Where another replica was faster all is done again, at once: it has committed, so what it did is there to be seen,
// and two can't hold each other up for ever.
func (in *Inbox) transact(ctx context.Context, fn func(context.Context, *attempt) error) (a *attempt, err error) {
	for tries := 1; ; tries++ {
		if a, err = in.try(ctx, attempt{}, fn); parkable(ctx, err) {
			var f *fault
			unnamed := !errors.As(err, &f) || f.ev == nil
			a, err = in.try(ctx, attempt{sifting: true, unnamed: unnamed}, fn)
		}
		if err == nil {
			crashpoint.Pass("inbox.D8b")
			in.committed(ctx, a)
			return a, nil
		}
		if !errors.Is(err, errMoved) || tries == maxMoved || ctx.Err() != nil {
			return nil, err
		}
		in.log.DebugContext(ctx, "another replica was faster; what it has left is taken", "err", err)
	}
}

// try makes one attempt, as one is to be made.
func (in *Inbox) try(ctx context.Context, as attempt, fn func(context.Context, *attempt) error) (*attempt, error) {
	var a *attempt
	err := in.writer.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		a = &as
		a.Inbox, a.tx, a.now = in, tx, in.cfg.Now()
		return fn(ctx, a)
	})
	if err != nil && a != nil {
		in.pace.giveBack(a.spell.borrowed)
	}
	return a, err
}

// committed tells those who wait what an attempt has stored. All of these are hints, which a crash right here loses:
// what they tell is found in the database by looking.
func (in *Inbox) committed(ctx context.Context, a *attempt) {
	in.sources.learn(a.newSources)
	in.waiters.wake(a)
	if len(a.hold) > 0 {
		poke(in.held)
	}
	if len(a.reactions) > 0 {
		poke(in.queued)
	}
	if len(a.parked) > 0 {
		poke(in.wakeParked)
	}
	if a.failed == 0 {
		in.pace.add(a.now, a.spell.taken)
	}
	a.report(ctx)
}

// poke wakes whoever listens to c, now or later.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
