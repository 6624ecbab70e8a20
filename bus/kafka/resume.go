package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-dev/tidings/bus"
)

// errOutside refuses an answer of Resume.
var errOutside = errors.New("the position is outside of the log")

// resumeAt says where to read on in each of parts: by the reader's own record or, where it keeps none, by the
// broker's.
func (c *connection) resumeAt(ctx context.Context, sub bus.Subscription, parts []bus.Partition) ([]int64, error) {
	if sub.Resume == nil {
		return c.committedAt(ctx, sub, parts)
	}
	offsets, err := sub.Resume(ctx, parts)
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	if len(offsets) != len(parts) {
		return nil, fmt.Errorf("resume: %d offsets for %d partitions", len(offsets), len(parts))
	}
	for i, p := range parts {
		if offsets[i] < p.First || offsets[i] > p.Next {
			return nil, fmt.Errorf("resume: %w: topic %q, partition %d: %d is not in [%d, %d]",
				errOutside, p.Topic, p.Partition, offsets[i], p.First, p.Next)
		}
	}
	return offsets, nil
}

// committedAt reads the group's offsets at the broker. One that the log no longer holds starts again at what it
// does hold, and the gap is told. A topic of which the group has no offset at all is new to it, and starts where the
// subscription says; fixStart has stored that for most groups, so this is for when the broker didn't take it.
func (c *connection) committedAt(ctx context.Context, sub bus.Subscription, parts []bus.Partition) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	committed, err := c.admin.committed(ctx, sub.Group, sub.Topics)
	if err != nil {
		return nil, fmt.Errorf("offsets of the group: %w", err)
	}
	offsets := make([]int64, len(parts))
	old := topicsOf(committed)
	for i, p := range parts {
		at, ok := committed[key{p.Topic, p.Partition}]
		switch {
		case !ok && !old[p.Topic]:
			offsets[i] = p.Offset
		case !ok: // a partition that was added to the topic is read from its start
			offsets[i] = p.First
		case at >= p.First && at <= p.Next:
			offsets[i] = at
		default:
			offsets[i] = p.First
			c.outside(ctx, sub, p, at)
		}
	}
	return offsets, nil
}

// topicsOf says which topics a group has offsets of: the others are new to it.
func topicsOf(committed map[key]int64) map[string]bool {
	topics := make(map[string]bool)
	for k := range committed {
		topics[k.topic] = true
	}
	return topics
}

// outside reports that the log doesn't hold the broker's own position.
func (c *connection) outside(ctx context.Context, sub bus.Subscription, p bus.Partition, at int64) {
	was := p.Position
	was.Offset = at
	if g, lost := gapOf(was, p); lost && sub.OnGap != nil {
		sub.OnGap(ctx, g)
	}
}

// gapOf compares where a reader was with what the log holds by now, and says what is lost between the two.
func gapOf(was bus.Position, b bus.Partition) (bus.Gap, bool) {
	g := bus.Gap{At: was}
	switch {
	case was.Log != "" && was.Log != b.Log:
		g.Reason = fmt.Sprintf("the topic was deleted and made anew; it was read up to %d", was.Offset)
	case was.Offset < b.First:
		g.Missed = uint64(b.First - was.Offset)
		g.Reason = fmt.Sprintf("the log starts at %d, behind position %d", b.First, was.Offset)
	case was.Offset > b.Next:
		g.Reason = fmt.Sprintf("the log ends at %d, before position %d", b.Next, was.Offset)
	default:
		return g, false
	}
	return g, true
}
