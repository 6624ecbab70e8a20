package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/calls"
)

// scheme is what addresses begin with.
const scheme = "kafka"

// Backend answers to kafka:// URLs; pass it to [bus.Open].
func Backend(opts ...Option) bus.Backend {
	b := backend{backWithin: backWithin}
	for _, opt := range opts {
		opt(&b)
	}
	return bus.Backend{
		Schemes: []string{scheme}, Open: b.open, Password: "set " + PasswordEnv + ", or pass " + paramPasswordFile,
	}
}

// backend is what the options of Backend say.
type backend struct {
	openRegistry OpenRegistry
	backWithin   time.Duration // shorter in tests
}

// connection is a bus.Bus over one Kafka cluster. It has three kinds of client, which connect when they are needed:
// one producer for all calls of Publish, a consumer for each Subscribe, and an admin client for the questions that
// librdkafka doesn't answer.
type connection struct {
	set       settings
	log       *slog.Logger
	throttle  *throttle
	admin     *admin
	topics    *topics
	producers *producers
	registry  Registry // nil without one
	calls     *calls.Calls
	leaving   sync.WaitGroup // consumers that take long to close
	// backWithin is the constant of that name.
	backWithin time.Duration
}

// open checks the URL and connects to nothing yet.
func (b backend) open(_ context.Context, u *url.URL, log *slog.Logger) (bus.Bus, error) {
	set, err := parseSettings(u)
	if err != nil {
		return nil, err
	}
	registry, err := b.registry(set.registry)
	if err != nil {
		return nil, err
	}
	throttle := newThrottle(log)
	admin, err := newAdmin(set, throttle)
	if err != nil {
		if registry != nil {
			registry.Close()
		}
		return nil, err
	}
	c := &connection{
		set: set, log: log, throttle: throttle, admin: admin,
		topics:    newTopics(admin, set, log),
		producers: &producers{set: set, log: throttle}, registry: registry, calls: calls.New(),
		backWithin: b.backWithin,
	}
	log.Info("kafka: effective settings", "settings", set.String())
	return c, nil
}

// Publish implements bus.Publisher.
func (c *connection) Publish(ctx context.Context, name string, events ...bus.Event) error {
	if err := c.calls.Enter(); err != nil {
		return err
	}
	defer c.calls.Leave()
	if ctx.Err() != nil {
		return allFailed(name, len(events), context.Cause(ctx))
	}
	t, err := c.publishTopic(ctx, name)
	if err != nil {
		return allFailed(name, len(events), err)
	}
	frames, err := c.frames(ctx, name, events)
	if err != nil {
		return allFailed(name, len(events), err)
	}
	p, err := c.producers.acquire()
	if err != nil {
		return allFailed(name, len(events), err)
	}
	defer p.calls.Done()
	marks := c.topics.marks(t.id, name, nil)
	err = publish(ctx, p, c.topics, t, frames, events)
	if !c.topics.acked(t.id, name, marks, events) {
		c.rename(ctx, name, events)
	}
	if err != nil {
		c.topics.forget(name) // it may be another topic by now
	}
	return err
}

// rename corrects the id of the topic where events were stored: it was deleted and made anew since it was looked at.
func (c *connection) rename(ctx context.Context, name string, events []bus.Event) {
	c.topics.forget(name)
	t, err := c.publishTopic(ctx, name)
	c.topics.restart(name) // if it is the same one, it is shorter than it was
	for i := range events {
		if at := &events[i].At; at.Topic != "" {
			at.Log = t.id // unknown, where the caller has no time to find out
		}
	}
	if err == nil {
		c.topics.acked(t.id, name, nil, events)
	}
}

// publishTopic returns the topic to publish to, on the way that is taken most often without asking anybody.
func (c *connection) publishTopic(ctx context.Context, name string) (topic, error) {
	if t, ok := c.topics.fresh(name); ok {
		return t, nil
	}
	if err := checkName(name); err != nil {
		return topic{}, err
	}
	ctx, cancel := c.calls.Bound(ctx)
	defer cancel()
	return c.topics.ready(ctx, name)
}

// allFailed is the error of a call of which nothing was sent.
func allFailed(topic string, n int, err error) error {
	failed := make(map[int]error, n)
	for i := range n {
		failed[i] = err
	}
	return &bus.PublishError{Topic: topic, Failed: failed}
}

// Partitions implements bus.Inspector.
func (c *connection) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	if err := c.calls.Enter(); err != nil {
		return nil, err
	}
	defer c.calls.Leave()
	ctx, cancel := c.calls.Bound(ctx)
	defer cancel()
	names := slices.Compact(slices.Sorted(slices.Values(topics)))
	var parts []bus.Partition
	err := c.admin.insist(ctx, "partitions", func(ctx context.Context) (err error) {
		parts, err = c.admin.partitions(ctx, bus.Earliest(), names...)
		c.topics.told(parts)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bus: partitions: %w", err)
	}
	return parts, nil
}

// Guarantees implements bus.Bus. It speaks of the topics that were used so far.
func (c *connection) Guarantees() bus.Guarantees {
	g := bus.All()
	// Without all acknowledgements the producer can't tell a gap, and what follows a failed event may be stored first.
	g.Durable = c.set.acks == "all"
	g.OrderedByKey = g.Durable
	g.Replayable = c.topics.replayable()
	return g
}

// Close implements bus.Bus. After ctx has ended it takes a moment more, for what is left to be told that it failed.
func (c *connection) Close(ctx context.Context) error {
	first, err := c.calls.Close(ctx, c.producers.close)
	if !first {
		return nil
	}
	// A consumer that can't leave its group because the broker is away is no failure of the caller's: nothing of its
	// own depends on it, and the group misses the member when its session has run out.
	if left := calls.Wait(ctx, "consumers are still leaving their groups", c.leaving.Wait); left != nil {
		c.log.Warn("closed, and a consumer goes on leaving its group in the background", "err", left)
	}
	c.admin.close()
	if c.registry != nil {
		c.registry.Close()
	}
	return err
}
