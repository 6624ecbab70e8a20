package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// topicFresh is for how long an id is taken without asking again: a topic may be deleted and made anew.
const topicFresh = 10 * time.Second

// topic is what is known of a topic.
type topic struct {
	name       string
	id         string // changes when it is deleted and made anew
	partitions int
	replayable bool
	differs    string // how it is not as Tidings would have made it, for a log line
	seen       time.Time
	// acked is one past the highest offset that was acknowledged in each partition. What is sent after that can't
	// stand below it, except in another topic of the same name. It is guarded by topics.mu.
	acked []int64
}

// topics makes topics where they are missing, checks them where they are not, and remembers.
type topics struct {
	admin *admin
	set   settings
	log   *slog.Logger

	mu    sync.Mutex
	known map[string]topic
}

// newTopics knows of no topic yet.
func newTopics(a *admin, s settings, log *slog.Logger) *topics {
	return &topics{admin: a, set: s, log: log, known: make(map[string]topic)}
}

// ready returns the topic, made if it was missing. It blocks while the broker is away, until ctx ends.
func (t *topics) ready(ctx context.Context, name string) (topic, error) {
	if known, ok := t.fresh(name); ok {
		return known, nil
	}
	all, err := t.all(ctx, []string{name})
	if err != nil {
		return topic{}, err
	}
	return all[name], nil
}

// fresh returns the topic if the broker was asked lately.
func (t *topics) fresh(name string) (topic, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.known[name]
	return known, ok && time.Since(known.seen) < topicFresh
}

// all is like ready, for several, and always asks the broker.
func (t *topics) all(ctx context.Context, names []string) (map[string]topic, error) {
	var found map[string]topic
	err := t.admin.insist(ctx, "topic "+strings.Join(names, ", "), func(ctx context.Context) (err error) {
		found, err = t.ensure(ctx, names)
		return err
	})
	return found, err
}

// remake asks the broker once, and makes the topic if it is gone.
func (t *topics) remake(ctx context.Context, name string) error {
	return t.admin.once(ctx, func(ctx context.Context) error {
		_, err := t.ensure(ctx, []string{name})
		return err
	})
}

// marks returns what was acknowledged so far, partition by partition; into is memory to use.
func (t *topics) marks(id string, name string, into []int64) []int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.known[name]; known.id == id {
		return append(into[:0], known.acked...)
	}
	return into[:0]
}

// acked takes note of what was acknowledged since marks was called, and reports whether it stands where it must. If
// not, the topic was made anew meanwhile.
func (t *topics) acked(id, name string, marks []int64, events []bus.Event) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.known[name]
	if known.id != id {
		return false
	}
	for i := range events {
		at := &events[i].At
		if at.Topic == "" {
			continue
		}
		p := int(at.Partition)
		if p < len(marks) && at.Offset < marks[p] {
			return false
		}
		if p >= len(known.acked) {
			known.acked = append(known.acked, make([]int64, p+1-len(known.acked))...)
		}
		known.acked[p] = max(known.acked[p], at.Offset+1)
	}
	t.known[name] = known
	return true
}

// forget makes the next ready ask the broker.
func (t *topics) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.known[name]; ok {
		known.seen = time.Time{}
		t.known[name] = known
	}
}

// restart forgets what was acknowledged in a topic.
func (t *topics) restart(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.known[name]; ok {
		known.acked = nil
		t.known[name] = known
	}
}

// told makes the next ready ask the broker about topics that turned out to be others than those known: what is stored
// from now on must not be told as being in the one that is gone.
func (t *topics) told(parts []bus.Partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range parts {
		if known, ok := t.known[p.Topic]; ok && known.id != p.Log {
			known.seen = time.Time{}
			t.known[p.Topic] = known
		}
	}
}

// replayable reports whether every topic that was seen keeps its events for ever.
func (t *topics) replayable() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, known := range t.known {
		if !known.replayable {
			return false
		}
	}
	return true
}

// errNotYet is the answer while a topic that was made is not known everywhere.
var errNotYet = errors.New("the topic was made and is not there yet")

// ensure asks the broker once, makes what is missing, and checks the rest.
func (t *topics) ensure(ctx context.Context, names []string) (map[string]topic, error) {
	details, err := t.admin.describe(ctx, names...)
	if err != nil {
		return nil, err
	}
	if missing := without(names, details); len(missing) > 0 {
		if err := t.create(ctx, missing); err != nil {
			return nil, err
		}
		if details, err = t.admin.describe(ctx, names...); err != nil {
			return nil, err
		}
		if missing := without(names, details); len(missing) > 0 {
			return nil, fmt.Errorf("%w: %s", errNotYet, strings.Join(missing, ", "))
		}
	}
	return t.check(ctx, details)
}

// without returns the names that have no partitions.
func without(names []string, details kadm.TopicDetails) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return len(details[name].Partitions) > 0 })
}

// create makes topics. With the replication factor of -1 the broker takes its own default.
func (t *topics) create(ctx context.Context, names []string) error {
	made, err := t.admin.adm.CreateTopics(ctx, int32(t.set.partitions), int16(t.set.replication), topicConfig(), names...)
	if err != nil {
		return err
	}
	for _, m := range made {
		switch {
		case m.Err == nil:
			t.log.InfoContext(ctx, "made topic", "topic", m.Topic, "partitions", t.set.partitions, "retention", "for ever")
		case errors.Is(m.Err, kerr.TopicAlreadyExists): // somebody else was faster
		default:
			return fmt.Errorf("topic %q doesn't exist and can't be made: %w: %s", m.Topic, m.Err, m.ErrMessage)
		}
	}
	return nil
}
