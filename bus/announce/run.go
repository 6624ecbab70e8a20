package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

const (
	// Interval is how often an announcement is repeated on a bus that keeps a log, so that retention doesn't take it.
	Interval = time.Hour
	// ListenInterval is how often on one that keeps none, where only who listens at that moment hears it.
	ListenInterval = 2 * time.Second
)

// Config is how [Run] announces. The zero value is right for most, but for Release.
type Config struct {
	Release string        // of the program that announces; "" is unknown
	Every   time.Duration // whole seconds; 0 is Interval, or ListenInterval on a bus without a log
	Logger  *slog.Logger  // nil is slog.Default
	Now     func() time.Time
}

// Run announces what is said by what, about events of the topic named events: at once, and again at each interval, give
// or take a tenth, until ctx ends; then it returns nil. A change is a new Run. It returns an error at once if what can't
// be announced at all, and [bus.ErrClosed] once b is closed.
//
// A bus that is away is waited for. One that doesn't take an announcement within a minute, or refuses it, is told of by
// one warning in the log, until it does, and tried again, at least once a minute. See the package's documentation for
// which bus to pass.
func Run(ctx context.Context, b bus.Bus, events string, what []Announcement, cfg Config) error {
	r, err := newRun(b, events, what, cfg)
	if err != nil {
		return err
	}
	return r.loop(ctx)
}

// run is one call of Run.
type run struct {
	bus    bus.Bus
	events string
	what   []Announcement
	cfg    Config
	every  time.Duration
	try    time.Duration // how long a try may take
	failed int           // tries in a row
}

func newRun(b bus.Bus, events string, what []Announcement, cfg Config) (*run, error) {
	r := &run{bus: b, events: events, what: slices.Clone(what), cfg: cfg, every: cfg.Every, try: tryTime}
	if r.every == 0 {
		r.every = intervalOf(b)
	}
	if r.cfg.Logger == nil {
		r.cfg.Logger = slog.Default()
	}
	if r.cfg.Now == nil {
		r.cfg.Now = time.Now
	}
	if events == "" || len(what) == 0 || r.every < time.Second || r.every%time.Second != 0 {
		return nil, fmt.Errorf("announce: there must be a topic (%q), something to say (%d), and an interval of whole seconds (%v)",
			events, len(what), r.every)
	}
	_, err := r.said()
	return r, err
}

// intervalOf is how often is right on b.
func intervalOf(b bus.Bus) time.Duration {
	if bus.KeepsLog(b) {
		return Interval
	}
	return ListenInterval
}

// loop announces until ctx ends, or the bus is closed.
func (r *run) loop(ctx context.Context) error {
	for wait := time.Duration(0); sleep(ctx, wait); {
		err := r.announce(ctx)
		if errors.Is(err, bus.ErrClosed) {
			return err
		}
		wait = r.next(ctx, err)
	}
	return nil
}

// said is what there is to say, as events of this moment.
func (r *run) said() ([]bus.Event, error) {
	said := make([]bus.Event, 0, len(r.what))
	for _, a := range r.what {
		a.Topic, a.Release, a.Time, a.Every = r.events, r.cfg.Release, r.cfg.Now().UTC(), int(r.every/time.Second)
		a.Types = sorted(a.Types)
		e, err := a.event()
		if err != nil {
			return nil, err
		}
		if _, ok := parse(e, r.events); !ok {
			return nil, fmt.Errorf("announce: %q: role, name and topic must be set, and have no control characters", a.key())
		}
		said = append(said, e)
	}
	return said, nil
}

// sorted is types in order, each once, with AnyType as the last. It is never nil: JSON is to have a list.
func sorted(types []string) []string {
	all := slices.Compact(slices.Sorted(slices.Values(types)))
	if i := slices.Index(all, AnyType); i >= 0 {
		all = append(slices.Delete(all, i, i+1), AnyType)
	}
	return append([]string{}, all...)
}

// A try may take tryTime; the next one after a failure is within retryMost.
const (
	tryTime    = time.Minute
	retryFirst = time.Second
	retryMost  = time.Minute
)

// announce says everything once.
func (r *run) announce(ctx context.Context) error {
	said, err := r.said()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.try)
	defer cancel()
	return r.bus.Publish(ctx, Topic(r.events), said...)
}

// next takes note of how a try went, and returns how long to wait for the next one. A failure is told once.
func (r *run) next(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	log := r.cfg.Logger.With("topic", Topic(r.events))
	if err == nil {
		if r.failed > 0 {
			log.InfoContext(ctx, "announced who publishes and who reads which types, which could not be for a while")
		}
		r.failed = 0
		return r.every - r.every/10 + rand.N(r.every/5)
	}
	if r.failed++; r.failed == 1 {
		log.WarnContext(ctx, "can't announce who publishes and who reads which types; all else goes on, and this is tried again", "err", err)
	}
	return min(retryMost, retryFirst<<min(r.failed-1, 10))
}

// sleep waits for d, and reports whether ctx is still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
