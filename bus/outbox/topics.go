package outbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tidings-dev/tidings/bus"
)

// heldTopics is what held is for a bus without a log. There are no partitions there that could be dead while
// others live: a server takes what is sent on a topic, or refuses it. And subscribers count by the numbers, which run
// across keys, so that one which overtakes another looks like a loss. So what is held back, tried again and let go is
// always a whole topic. It is let go at the start of a pass only, which reads from the lowest position: what has a
// number goes out before anything takes the next one.
//
// Topics share nothing, for one that the server refuses for good must hold up no other, but for the time that it takes
// to go past its events.
type heldTopics struct {
	pace   pace
	topics map[string]*heldTopic
}

// heldTopic is a topic of which the last trial failed.
type heldTopic struct {
	delays *backoff.ExponentialBackOff
	due    time.Time
	trying bool // it was let go, and nothing of it has failed since
}

// newHeldTopics holds nothing back.
func newHeldTopics(p pace) *heldTopics {
	return &heldTopics{pace: p, topics: make(map[string]*heldTopic)}
}

// begin lets those topics go that are due. Call it before a pass.
func (h *heldTopics) begin(now time.Time) {
	for _, t := range h.topics {
		t.trying = t.trying || !now.Before(t.due)
	}
}

// holds reports whether a topic is held back.
func (h *heldTopics) holds(topic string) bool {
	t := h.topics[topic]
	return t != nil && !t.trying
}

// names are the topics that are held back, in order.
func (h *heldTopics) names() []string {
	held := slices.Sorted(maps.Keys(h.topics))
	return slices.DeleteFunc(held, func(topic string) bool { return !h.holds(topic) })
}

// hold holds a topic back, and returns for how long; longer each time, unless some of it got through.
func (h *heldTopics) hold(topic string, now time.Time, some bool) (delay time.Duration) {
	t := h.topics[topic]
	if t == nil {
		t = &heldTopic{delays: newDelays(h.pace)}
		h.topics[topic] = t
	}
	if some {
		t.delays.Reset()
	}
	delay = t.delays.NextBackOff()
	t.due, t.trying = now.Add(delay), false
	return delay
}

// release takes note that all which was tried of a topic got through, and reports whether it was held back before.
func (h *heldTopics) release(topic string) (was bool) {
	_, was = h.topics[topic]
	delete(h.topics, topic)
	return was
}

// patience is how long a publish on a topic may take.
func (h *heldTopics) patience(topic string) time.Duration {
	if h.topics[topic] != nil {
		return h.pace.away
	}
	return h.pace.patience
}

// next says when the next topic is tried again, if any is held back.
func (h *heldTopics) next(now time.Time) (left time.Duration, some bool) {
	for _, t := range h.topics {
		if until := max(0, t.due.Sub(now)); !t.trying && (!some || until < left) {
			left, some = until, true
		}
	}
	return left, some
}

// publishNumbered publishes events of one topic, which have their numbers, and holds the topic back unless all of
// them are acknowledged. It returns an error only when the bus is closed.
func (r *relay) publishNumbered(ctx context.Context, topic string, positions []int64, events []bus.Event, out *outcome) error {
	pctx, cancel := r.publishContext(ctx, r.topics.patience(topic))
	err := r.bus.Publish(pctx, topic, events...)
	cancel()
	if err == nil {
		out.add(positions, events)
		if r.topics.release(topic) {
			r.log.InfoContext(ctx, "outbox: the topic gets through again", "topic", topic)
		}
		return nil
	}
	r.holdTopic(ctx, topic, out.addAcknowledged(positions, events, err), err)
	if errors.Is(err, bus.ErrClosed) {
		return err
	}
	return nil
}

// addAcknowledged takes the events that err does not speak of, up to the first failure of each key, and reports
// whether there are any.
func (out *outcome) addAcknowledged(positions []int64, events []bus.Event, err error) (some bool) {
	var partial *bus.PublishError
	if !errors.As(err, &partial) {
		return false
	}
	first := firstFailures(events, partial.Failed)
	for i := range events {
		if at, failed := first[events[i].Key]; !failed || i < at {
			out.add(positions[i:i+1], events[i:i+1])
			some = true
		}
	}
	return some
}

// holdTopic holds a topic back and says so, but for a relay that is to stop: that is why it failed.
func (r *relay) holdTopic(ctx context.Context, topic string, some bool, err error) {
	delay := r.topics.hold(topic, time.Now(), some)
	if ctx.Err() == nil {
		r.log.WarnContext(ctx, "outbox: events could not be published; their topic is held back and tried again",
			"topic", topic, "after", delay, "err", err)
	}
}
