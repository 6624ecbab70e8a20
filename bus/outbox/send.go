package outbox

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// sentRow is an event that was acknowledged, and where it stands.
type sentRow struct {
	position int64
	at       bus.Position
	heard    int // by how many subscribers; nothing is meant by it on a bus with a log
}

// send publishes a batch, topic by topic, without the topics and keys that are held back. An error is one of the database, or one
// that ends the relay.
func (r *relay) send(ctx context.Context, b *batch) (out outcome, err error) {
	out.bad = b.bad
	for _, topic := range distinct(b.topics) {
		if r.topics.holds(topic) {
			continue // since it was read
		}
		positions, events := r.sendable(b, topic)
		if err := r.sendTo(ctx, topic, positions, events, &out); err != nil || ctx.Err() != nil {
			return out, err
		}
	}
	return out, nil
}

// sendTo publishes events of one topic, with numbers if the bus keeps no log.
func (r *relay) sendTo(ctx context.Context, topic string, positions []int64, events []bus.Event, out *outcome) error {
	if !r.numbers() {
		return r.publish(ctx, topic, positions, events, out)
	}
	positions, events = valid(positions, events, out)
	if len(events) == 0 {
		return nil
	}
	if err := r.number(ctx, topic, positions, events); err != nil {
		return err
	}
	defer r.beats.published(topic, events)
	return r.publishNumbered(ctx, topic, positions, events, out)
}

// distinct returns each topic once. Mostly there is one.
func distinct(topics []string) []string {
	var all []string
	for i, t := range topics {
		if i > 0 && t == topics[i-1] || slices.Contains(all, t) {
			continue
		}
		all = append(all, t)
	}
	return all
}

// sendable returns the events of a topic that may be published.
func (r *relay) sendable(b *batch, topic string) (positions []int64, events []bus.Event) {
	if r.held.empty() && !slices.ContainsFunc(b.topics, func(t string) bool { return t != topic }) {
		return b.positions, b.events
	}
	for i, t := range b.topics {
		switch {
		case t != topic:
		case !r.held.allows(eventKey{t, b.events[i].Key}):
			r.skipped++
		default:
			positions, events = append(positions, b.positions[i]), append(events, b.events[i])
		}
	}
	return positions, events
}

// publish publishes events and sorts out which are sent, which are tried again, and which can't be sent at all. It
// returns an error only when the bus is closed.
func (r *relay) publish(ctx context.Context, topic string, positions []int64, events []bus.Event, out *outcome) error {
	if len(events) == 0 {
		return nil
	}
	pctx, cancel := r.publishContext(ctx, r.held.patience())
	err := r.bus.Publish(pctx, topic, events...)
	cancel()
	if moved := r.logs.take(topic, events, err); moved != nil {
		err = moved // where they are can't be told: they are sent again, in order
	}
	if err == nil {
		crashpoint.Pass("outbox.6b")
		out.add(positions, events)
		r.held.cameThrough(topic, events)
		return nil
	}
	var partial *bus.PublishError
	switch bad := invalid(positions, events); {
	case errors.As(err, &partial):
		r.sortOut(topic, positions, events, partial.Failed, out)
	case len(bad) > 0: // the bus refuses the whole call for their sake
		out.bad = append(out.bad, bad...)
		positions, events = without(positions, events, bad)
		return r.publish(ctx, topic, positions, events, out)
	default:
		r.sortOut(topic, positions, events, allFailed(len(events), err), out)
	}
	if errors.Is(err, bus.ErrClosed) {
		return err
	}
	return nil
}

// allFailed is what a bus means that says no more than that it failed.
func allFailed(n int, err error) map[int]error {
	failed := make(map[int]error, n)
	for i := range n {
		failed[i] = err
	}
	return failed
}

// sortOut holds back the keys that failed, from the first event that did.
func (r *relay) sortOut(topic string, positions []int64, events []bus.Event, failed map[int]error, out *outcome) {
	first := firstFailures(events, failed)
	for i := range events {
		at, stuck := first[events[i].Key]
		if !stuck || i < at {
			out.add(positions[i:i+1], events[i:i+1])
			r.held.cameThrough(topic, events[i:i+1])
			continue
		}
		r.held.failed++
		if i == at {
			r.held.hold(eventKey{topic, events[i].Key}, failed[i])
		}
	}
}

// publishContext bounds a publish. It outlives ctx by a moment, so that a relay that stops knows of most of what it
// has published; but not when the lease was lost, for then another relay is at work.
func (r *relay) publishContext(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	pctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), errLost) {
			sleep(pctx, r.pace.grace)
		}
		cancel()
	})
	return pctx, func() { stop(); cancel() }
}

// add takes events that were acknowledged.
func (out *outcome) add(positions []int64, events []bus.Event) {
	out.sent = slices.Grow(out.sent, len(events))
	for i := range events {
		out.sent = append(out.sent, sentRow{positions[i], events[i].At, events[i].Heard})
	}
}

// sort puts what came topic by topic into order of position.
func (out *outcome) sort() {
	byPosition := func(a, b sentRow) int { return cmp.Compare(a.position, b.position) }
	if !slices.IsSortedFunc(out.sent, byPosition) {
		slices.SortFunc(out.sent, byPosition)
	}
}

// invalid returns the events that no bus takes.
func invalid(positions []int64, events []bus.Event) (bad []badRow) {
	for i := range events {
		if err := events[i].Validate(); err != nil {
			bad = append(bad, badRow{positions[i], err})
		}
	}
	return bad
}

// without leaves out the bad rows, which are in the same order.
func without(positions []int64, events []bus.Event, bad []badRow) (keptPositions []int64, kept []bus.Event) {
	for i, p := range positions {
		if len(bad) > 0 && bad[0].position == p {
			bad = bad[1:]
			continue
		}
		keptPositions, kept = append(keptPositions, p), append(kept, events[i])
	}
	return keptPositions, kept
}
