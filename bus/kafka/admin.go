package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/tidings-dev/tidings/bus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// requestTimeout bounds one question to the broker; whoever has to have the answer asks again.
const requestTimeout = 5 * time.Second

// Questions are asked again after a fiftieth of a second, growing to a second.
const (
	firstAgain   = 20 * time.Millisecond
	longestAgain = time.Second
)

// admin asks the broker what librdkafka can't or won't tell: what it can do, and how topics stand.
type admin struct {
	cl  *kgo.Client
	adm *kadm.Client
	log *throttle
}

// newAdmin connects to nothing.
func newAdmin(s settings, log *throttle) (*admin, error) {
	opts, err := s.admin()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	return &admin{cl: cl, adm: kadm.NewClient(cl), log: log}, nil
}

// close may be called when nobody asks any more.
func (a *admin) close() { a.cl.Close() }

// errPermanent marks an answer that no further asking will change.
type errPermanent struct{ error }

// Unwrap returns the error itself.
func (e errPermanent) Unwrap() error { return e.error }

// Everything here has to be waited for, and nothing has a deadline of its own: a bus starts without its broker, and
// whoever can't wait says so by a context. So there is one way of asking, insist, around questions that are asked once.

// insist asks until there is an answer or ctx ends, and returns ctx's error then, with what was in the way. An
// errPermanent ends it at once. It logs what is being waited for, now and then.
func (a *admin) insist(ctx context.Context, what string, ask func(context.Context) error) error {
	delays := newDelays()
	var last error
	for {
		err := a.once(ctx, ask)
		var permanent errPermanent
		switch {
		case err == nil:
			a.log.again(what)
			return nil
		case ctx.Err() != nil:
			return gaveUp(ctx, last)
		case errors.As(err, &permanent):
			return permanent.error
		}
		last = err
		if !errors.Is(err, errNotYet) {
			a.log.Log(slog.LevelWarn, what, "waiting for the broker: "+what, "err", err)
		}
		if !sleep(ctx, delays.NextBackOff()) {
			return gaveUp(ctx, last)
		}
	}
}

// gaveUp is the error of a wait that ctx has ended, and of what was waited out; nil where nothing was.
func gaveUp(ctx context.Context, last error) error {
	if last == nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w (%w)", context.Cause(ctx), last)
}

// newDelays counts out the waiting between two questions.
func newDelays() *backoff.ExponentialBackOff {
	delays := &backoff.ExponentialBackOff{
		InitialInterval: firstAgain, MaxInterval: longestAgain, Multiplier: 2, RandomizationFactor: 0.2,
	}
	delays.Reset()
	return delays
}

// once asks once, for a bounded time.
func (a *admin) once(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return ask(ctx)
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

// groupVersion is the feature that says whether a cluster that knows KIP-848 groups has them switched on.
const groupVersion = "group.version"

// consumerProtocol reports whether every broker serves KIP-848 groups, for any of them may have to lead one. It has
// to be asked: where one doesn't, a consumer of that protocol waits for ever, without an error.
func (a *admin) consumerProtocol(ctx context.Context) (bool, error) {
	all, err := a.adm.ApiVersions(ctx)
	if err != nil {
		return false, err
	}
	for _, v := range all {
		if v.Err != nil {
			return false, fmt.Errorf("broker %d: %w", v.NodeID, v.Err)
		}
		if _, ok := v.KeyMaxVersion(kmsg.ConsumerGroupHeartbeat.Int16()); !ok {
			return false, nil
		}
		if on, err := groupsOn(v.Raw()); !on {
			return false, err
		}
	}
	return len(all) > 0, nil
}

// groupsOn reports whether a broker that knows the feature has it finalized at level 1 or above. One that doesn't speak
// of it at all (the embedded one) is taken at its API list. One that has not heard from its controller yet lists no
// finalized feature, with the epoch -1 (KIP-584), which says nothing: it is asked again.
func groupsOn(v *kmsg.ApiVersionsResponse) (bool, error) {
	knows := slices.ContainsFunc(v.SupportedFeatures, func(f kmsg.ApiVersionsResponseSupportedFeature) bool {
		return f.Name == groupVersion
	})
	if knows && v.FinalizedFeaturesEpoch < 0 {
		return false, errors.New("the broker doesn't know yet which features are on: it has not heard from its controller")
	}
	on := slices.ContainsFunc(v.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
		return f.Name == groupVersion && f.MaxVersionLevel >= 1
	})
	return on || !knows, nil
}

// describe returns what the broker knows of the topics; those that don't exist are left out.
func (a *admin) describe(ctx context.Context, topics ...string) (kadm.TopicDetails, error) {
	if len(topics) == 0 { // which the broker would take for all there are
		return nil, nil
	}
	found, err := a.adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, err
	}
	for name, t := range found {
		switch {
		case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			delete(found, name)
		case t.Err != nil:
			return nil, fmt.Errorf("topic %q: %w", name, t.Err)
		}
	}
	return found, nil
}

// partitions lists the partitions of the topics in order, each with its bounds and with where start begins.
// Topics that don't exist are left out.
func (a *admin) partitions(ctx context.Context, start bus.Start, topics ...string) ([]bus.Partition, error) {
	found, err := a.describe(ctx, topics...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(found))
	// The ends are asked for last, so that nothing else is beyond them. They are the high watermarks: what a
	// transaction has not committed yet counts as there, and readers come to it when it is decided.
	first, err := a.adm.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	var since kadm.ListedOffsets
	if t, ok := start.Time(); ok {
		// Below 0 are no times: a broker takes -1 for the end, and refuses what it has no meaning for.
		if since, err = a.adm.ListOffsetsAfterMilli(ctx, max(0, t.UnixMilli()), names...); err != nil {
			return nil, err
		}
	}
	next, err := a.adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	return bounds(found, start, first, since, next)
}

// bounds puts together what was asked for piece by piece.
func bounds(found kadm.TopicDetails, start bus.Start, first, since, next kadm.ListedOffsets) ([]bus.Partition, error) {
	var parts []bus.Partition
	for _, topic := range found {
		for number := range topic.Partitions {
			p := bus.Partition{Position: bus.Position{Topic: topic.Topic, Log: topic.ID.String(), Partition: number}}
			var err error
			if p.First, err = offset(first, topic.Topic, number); err != nil {
				return nil, err
			}
			if p.Next, err = offset(next, topic.Topic, number); err != nil {
				return nil, err
			}
			p.Offset = p.First
			if start.IsLatest() {
				p.Offset = p.Next
			} else if since != nil {
				if p.Offset, err = offset(since, topic.Topic, number); err != nil {
					return nil, err
				}
				if p.Offset < 0 { // nothing that late
					p.Offset = p.Next
				}
				p.Offset = min(max(p.Offset, p.First), p.Next)
			}
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(a, b bus.Partition) int { return comparePositions(a.Position, b.Position) })
	return parts, nil
}

// offset picks one offset from a list. A leader that has just moved is told as an error of its partition.
func offset(l kadm.ListedOffsets, topic string, partition int32) (int64, error) {
	o, ok := l.Lookup(topic, partition)
	if !ok {
		return 0, fmt.Errorf("topic %q: the broker told no offset of partition %d", topic, partition)
	}
	if o.Err != nil {
		return 0, fmt.Errorf("topic %q: partition %d: %w", topic, partition, o.Err)
	}
	return o.Offset, nil
}

// comparePositions orders by topic and partition.
func comparePositions(a, b bus.Position) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// committed returns the group's own offsets at the broker, of those partitions where it has any.
func (a *admin) committed(ctx context.Context, group string, topics []string) (map[key]int64, error) {
	all, err := a.adm.FetchOffsetsForTopics(ctx, group, topics...)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	offsets := make(map[key]int64)
	for _, o := range all.Sorted() {
		if o.Err != nil {
			return nil, fmt.Errorf("topic %q, partition %d: %w", o.Topic, o.Partition, o.Err)
		}
		if o.At >= 0 { // else the broker just lists it
			offsets[key{o.Topic, o.Partition}] = o.At
		}
	}
	return offsets, nil
}
