package kafka

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/tidings-dev/tidings/bus"
	"github.com/twmb/franz-go/pkg/kadm"
)

// prepare waits for the broker and gets everything ready for a session: it chooses the group protocol, makes and
// checks the topics, and has the start fixed in all partitions at one moment.
func (c *connection) prepare(ctx context.Context, sub bus.Subscription) (protocol string, err error) {
	err = c.admin.insist(ctx, "consumer group "+sub.Group, func(ctx context.Context) (err error) {
		protocol, err = c.protocol(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("bus: subscribe: %w", err)
	}
	known, err := c.topics.all(ctx, sub.Topics)
	if err != nil {
		return "", fmt.Errorf("bus: subscribe: %w", err)
	}
	if err := c.check(sub, known); err != nil {
		return "", err
	}
	// All partitions are asked about together, before any is read: a group that starts at the end or at a time
	// starts there everywhere, also in partitions that another member reads, or that are read much later.
	err = c.admin.insist(ctx, "start of group "+sub.Group, func(asking context.Context) error {
		parts, err := c.admin.partitions(asking, sub.Start, sub.Topics...)
		if err != nil {
			return err
		}
		return c.fixStart(ctx, asking, sub, parts)
	})
	return protocol, err
}

// protocol chooses by what the broker can do, unless the URL says which.
func (c *connection) protocol(ctx context.Context) (string, error) {
	if c.set.groupProtocol == protocolClassic {
		return protocolClassic, nil
	}
	can, err := c.admin.consumerProtocol(ctx)
	switch {
	case err != nil:
		return "", err
	case can:
		return protocolConsumer, nil
	case c.set.groupProtocol == protocolConsumer:
		return "", errPermanent{fmt.Errorf("%s is %s, which the broker can't do (it takes Kafka 4.0 with %s=1); pass %s or %s",
			paramGroupProtocol, protocolConsumer, groupVersion, protocolAuto, protocolClassic)}
	}
	c.throttle.Log(slog.LevelInfo, "protocol", "the broker lacks the newer group protocol; using classic groups")
	return protocolClassic, nil
}

// check refuses a subscription that requires what these topics don't give. bus.Wrap has checked it against the bus
// as a whole, before the topics were known.
func (c *connection) check(sub bus.Subscription, known map[string]topic) error {
	g := bus.All()
	g.Durable = c.set.acks == "all"
	g.OrderedByKey = g.Durable
	for _, t := range known {
		g.Replayable = g.Replayable && t.replayable
	}
	if missing := g.Missing(sub.Require); missing != (bus.Guarantees{}) {
		return &bus.GuaranteeError{Group: sub.Group, Missing: missing}
	}
	return nil
}

// fixStart has the start of a new group stored for every partition, by the reader or by the broker. asking is ctx,
// bounded by the time that a broker may take.
func (c *connection) fixStart(ctx, asking context.Context, sub bus.Subscription, parts []bus.Partition) error {
	if sub.Resume != nil { // a database, so not bound by the time that a broker may take
		_, err := c.resumeAt(ctx, sub, parts)
		return err
	}
	committed, err := c.admin.committed(asking, sub.Group, sub.Topics)
	if err != nil {
		return err
	}
	old := topicsOf(committed)
	var offsets kadm.Offsets
	for _, p := range parts {
		if !old[p.Topic] {
			offsets.AddOffset(p.Topic, p.Partition, p.Offset, -1)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	// Refused where another member is in the group already; then it has done this.
	if err := c.admin.adm.CommitAllOffsets(asking, sub.Group, offsets); err != nil {
		c.log.DebugContext(ctx, "the start of a group is not stored", "group", sub.Group, "err", err)
	}
	return nil
}
