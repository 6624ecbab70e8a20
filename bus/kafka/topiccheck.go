package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// What Tidings needs of a topic's configuration; topics are made with it.
const (
	confRetentionMS    = "retention.ms"
	confRetentionBytes = "retention.bytes"
	confCleanup        = "cleanup.policy"
	confTimestamp      = "message.timestamp.type"
	confMaxBytes       = "max.message.bytes" // left to the broker, whose default is enough
)

// topicConfig is how topics are made. With the broker's own time on each record, [bus.Since] means when it was
// received, whatever the publishers' clocks say and however long they had to wait.
func topicConfig() map[string]*string {
	return map[string]*string{
		confRetentionMS:    kadm.StringPtr("-1"),
		confRetentionBytes: kadm.StringPtr("-1"),
		confCleanup:        kadm.StringPtr("delete"),
		confTimestamp:      kadm.StringPtr("LogAppendTime"),
	}
}

// checkName refuses what no Kafka broker takes. The embedded one takes anything, and librdkafka takes a name with '^'
// in front for a pattern.
func checkName(name string) error {
	ok := len(name) > 0 && len(name) <= 249 && name != "." && name != ".."
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("topic %.300q: Kafka doesn't allow this name; "+
			"it may have letters, digits, '.', '_' and '-', 249 at most", name)
	}
	return nil
}

// check takes note of the topics, and logs how they are not as Tidings would have made them, once and whenever that
// changes.
func (t *topics) check(ctx context.Context, details kadm.TopicDetails) (map[string]topic, error) {
	names := make([]string, 0, len(details))
	for name := range details {
		names = append(names, name)
	}
	configs, err := t.admin.adm.DescribeTopicConfigs(ctx, names...)
	if err != nil && !errors.Is(err, kerr.TopicAuthorizationFailed) {
		return nil, err
	}
	// The answers are for all topics at once, and an error of one says nothing of the others.
	found := make(map[string]topic, len(details))
	for name, d := range details {
		now := topic{name: name, id: d.ID.String(), partitions: len(d.Partitions), seen: time.Now()}
		c, err := configs.On(name, nil)
		if err = errors.Join(err, c.Err); err != nil {
			// Not allowed to look. What can't be seen can't be promised.
			now.differs = "its settings can't be read: " + err.Error()
		} else {
			t.compare(&now, c)
		}
		found[name] = now
	}
	t.note(ctx, found)
	return found, nil
}

// note remembers the topics. What was acknowledged in one goes on counting as long as it is the same one.
func (t *topics) note(ctx context.Context, found map[string]topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, now := range found {
		before, ok := t.known[name]
		if ok && before.id == now.id {
			now.acked = before.acked
			found[name] = now
		}
		if now.differs != before.differs {
			t.log.WarnContext(ctx, "a topic is not as Tidings would have made it", "topic", name,
				"differs", now.differs, "replayable", now.replayable)
		}
	}
	maps.Copy(t.known, found)
}

// compare says how a topic differs, and what follows from it. Retention and compaction decide whether it can be
// replayed. The time on its records decides only how exact bus.Since is, and partitions how the keys are spread.
func (t *topics) compare(now *topic, c kadm.ResourceConfig) {
	conf := make(map[string]string)
	for _, entry := range c.Configs {
		conf[entry.Key] = strings.ReplaceAll(entry.MaybeValue(), " ", "")
	}
	want := topicConfig()
	var differs []string
	differ := func(key string) bool {
		if conf[key] == *want[key] {
			return false
		}
		differs = append(differs, fmt.Sprintf("%s is %s, not %s", key, conf[key], *want[key]))
		return true
	}
	finite, bounded, compacted := differ(confRetentionMS), differ(confRetentionBytes), differ(confCleanup)
	now.replayable = !finite && !bounded && !compacted
	differ(confTimestamp)
	if now.partitions != t.set.partitions {
		differs = append(differs, fmt.Sprintf("partitions are %d, not %d", now.partitions, t.set.partitions))
	}
	if n, err := strconv.Atoi(conf[confMaxBytes]); err == nil && n < maxBatchBytes {
		differs = append(differs, fmt.Sprintf("%s is %d, and a batch may have %d, an event %d",
			confMaxBytes, n, maxBatchBytes, bus.MaxEventBytes))
	}
	now.differs = strings.Join(differs, "; ")
}
