package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tidings-dev/tidings/bus/outbox"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

const (
	// lookEvery is the time between two looks at the broker, and lookLimit how long one may take.
	lookEvery = 2 * time.Second
	lookLimit = 2 * time.Second
	// stuckAfter is how long a bus that can't be asked may take nothing while there is something to take.
	stuckAfter = 5 * time.Second
)

// watch looks at the broker, until ctx ends, and tells whether it can be reached. An owner has no subscription of its
// own to go by, and an outbox with nothing in it says nothing: so the broker is asked. A bus without a log has nobody
// to ask, and counts as standing until it takes nothing of what is sent to it: see [sending].
type watch struct {
	bus   *sending
	topic string
	tell  func(standing bool)
	log   *slog.Logger
	// versions says how many versions this database has given out, each of which is told by this many events.
	versions func(ctx context.Context) (uint64, error)
	twins    int
	// outbox says how much there is to send.
	outbox func(ctx context.Context) (outbox.Status, error)
	// empty says that it had given out none when the service was started.
	empty bool
	// strange is how many events the log held, at the first look, that an empty database can't have written.
	strange atomic.Int64
}

func newWatch(ctx context.Context, cfg Config, p *lifecycle.Parts, st *store.Store, ob *outbox.Outbox) (*watch, error) {
	w := &watch{bus: &sending{Bus: p.Bus}, topic: cfg.Topic, tell: p.GRPC.SetBus, log: p.Log, outbox: ob.Status, twins: cfg.Events.count()}
	w.versions = func(ctx context.Context) (uint64, error) {
		totals, err := st.Totals(ctx)
		return totals.Versions, err
	}
	given, err := w.versions(ctx)
	w.empty = given == 0
	return w, err
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for first := true; ; {
		held, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.tell(err == nil || errors.Is(err, errors.ErrUnsupported) && w.takes(ctx, time.Now()))
		if err == nil && first {
			first = false
			w.compare(ctx, held)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look returns how many events the topic's log holds.
func (w *watch) look(ctx context.Context) (held int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	parts, err := w.bus.Partitions(ctx, w.topic)
	for _, p := range parts {
		held += p.Next - p.First
	}
	return held, err
}

// takes reports whether a bus that can't be asked takes what is sent to it, as far as that was tried.
func (w *watch) takes(ctx context.Context, now time.Time) bool {
	return w.bus.fault(now) == nil && !w.stuck(ctx, now)
}

// stuck reports whether there is something to send and nothing was sent for stuckAfter.
func (w *watch) stuck(ctx context.Context, now time.Time) bool {
	held, err := w.outbox(ctx)
	if err != nil || held.Pending == 0 {
		return false // the database is no matter of the bus
	}
	since := held.Oldest
	if held.LastSent.After(since) {
		since = held.LastSent
	}
	return now.Sub(since) > stuckAfter
}

// compare notices an owner whose database was lost: the log tells of users that it knows nothing of. A log can heal its
// readers, but nothing heals an owner.
func (w *watch) compare(ctx context.Context, held int64) {
	given, err := w.versions(ctx)
	told := given * uint64(w.twins) // by this process, and nobody else, of a database that was empty
	if err != nil || !w.empty || uint64(held) <= told {
		return
	}
	w.strange.Store(held - int64(told))
	w.log.WarnContext(ctx, w.note())
}

// note says what compare has noticed; "" if nothing.
func (w *watch) note() string {
	n := w.strange.Load()
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("the log of topic %s holds %d events that this database never wrote: the others know users that "+
		"are unknown here. If the database was lost, put its backup back; else pass another --topic", w.topic, n)
}

// lacking says what the log lacks and nothing here can send again; "" if nothing. The outbox's relay logs the same when
// it finds it, and at each start.
func lacking(held outbox.Status) string {
	if held.Lacking == 0 {
		return ""
	}
	return fmt.Sprintf("the log lacks %d events that were sent, and purged here before it was found at %s to have lost them: "+
		"who has them keeps them, and who is new will not get them. Begin a new service with a copy of the database of one "+
		"that has them, and keep more with --outbox-keep", held.Lacking, held.Lacked.Format(time.RFC3339))
}
