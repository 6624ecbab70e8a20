package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/twmb/franz-go/pkg/kadm"
)

func TestATopicIsMadeToBeKeptForEver(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url, "partitions=5")
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	configs, err := kadm.NewClient(client(t, url)).DescribeTopicConfigs(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range configs[0].Configs {
		got[c.Key] = c.MaybeValue()
	}
	for key, want := range map[string]string{
		"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if n := len(partitions(t, b, topic)); n != 5 {
		t.Errorf("%d partitions", n)
	}
	if g := b.Guarantees(); g != bus.All() {
		t.Errorf("guarantees: %v", g)
	}
}

func TestATopicThatIsOtherwiseIsReportedAndTheGuaranteesShrink(t *testing.T) {
	t.Parallel()
	for name, conf := range map[string]map[string]*string{
		"finite time":  {"retention.ms": kadm.StringPtr("1000000")},
		"finite bytes": {"retention.ms": kadm.StringPtr("-1"), "retention.bytes": kadm.StringPtr("1000000")},
		"compacted":    {"retention.ms": kadm.StringPtr("-1"), "cleanup.policy": kadm.StringPtr("compact")},
	} {
		t.Run(name, func(t *testing.T) {
			url := brokerURL(t)
			topic := unique(t, "topic")
			if _, err := kadm.NewClient(client(t, url)).CreateTopic(t.Context(), 3, 1, conf, topic); err != nil {
				t.Fatal(err)
			}
			b := open(t, url)
			if g := b.Guarantees(); g != bus.All() {
				t.Errorf("before the topic is known: %v", g)
			}
			// Refused by the backend, which finds out once it knows the topic.
			sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Require: bus.Guarantees{Replayable: true}}
			var refused *bus.GuaranteeError
			err := b.Subscribe(t.Context(), sub, nil)
			if !errors.As(err, &refused) || refused.Missing != (bus.Guarantees{Replayable: true}) {
				t.Errorf("Subscribe returned %v", err)
			}
			if g := b.Guarantees(); g.Replayable || !g.Durable || !g.Groups || !g.OrderedByKey {
				t.Errorf("guarantees: %v", g)
			}
			sub.Require = bus.Guarantees{Durable: true, OrderedByKey: true, Groups: true}
			s := subscribe(t, b, sub, nil)
			publish(t, b, topic, event("a", 1))
			s.waitFor(1)
		})
	}
}

func TestHowATopicDiffersIsLoggedOnceAndWhenItChanges(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	topic := unique(t, "topic")
	adm := kadm.NewClient(client(t, url))
	conf := map[string]*string{"retention.ms": kadm.StringPtr("-1"), "message.timestamp.type": kadm.StringPtr("LogAppendTime"), "max.message.bytes": kadm.StringPtr("5000")}
	if _, err := adm.CreateTopic(t.Context(), 12, 1, conf, topic); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	b, err := bus.Open(t.Context(), url, kafka.Backend(), bus.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer closeBus(t, b)
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Require: bus.Guarantees{Replayable: true}}
	for range 2 {
		s := subscribe(t, b, sub, nil)
		eventually(t, "the subscription", s.isReady)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
	const small = `differs="max.message.bytes is 5000, and a batch may have 1048588, an event 1000000" replayable=true`
	if n := strings.Count(log.String(), small); n != 1 {
		t.Errorf("told %d times in %s", n, log.String())
	}
	if _, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "retention.ms", Value: kadm.StringPtr("60000")}}, topic); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal", func() bool { // a broker needs a moment to take in the setting
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var refused *bus.GuaranteeError
		return errors.As(b.Subscribe(ctx, sub, func(context.Context, bus.Delivery) error { return nil }), &refused)
	})
	if !strings.Contains(log.String(), `differs="retention.ms is 60000, not -1; max.message.bytes`) {
		t.Errorf("logged %s", log.String())
	}
}

// syncBuffer is written to by many goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestAcksOfTheLeaderAloneAreNeitherDurableNorOrdered(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t), "acks=1")
	topic := unique(t, "topic")
	all := events(1, 100, keys(10)...)
	publish(t, b, topic, all...)
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	s.waitFor(1000)
	checkOrder(t, s.got(), 10, 100)
	if g := b.Guarantees(); g.Durable || g.OrderedByKey || !g.Groups {
		t.Errorf("guarantees: %v", g)
	}
	var refused *bus.GuaranteeError
	sub := bus.Subscription{Group: "g", Topics: []string{topic}, Require: bus.Guarantees{Durable: true}}
	if err := b.Subscribe(t.Context(), sub, nil); !errors.As(err, &refused) {
		t.Errorf("Subscribe returned %v", err)
	}
}

func TestATopicNameThatKafkaForbidsIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	b := open(t, "kafka://192.0.2.1:9092") // needs no broker
	for _, topic := range []string{"not a topic", "^pattern", ".", "..", strings.Repeat("x", 250), "a/b", "é"} {
		const want = "Kafka doesn't allow this name"
		if err := b.Publish(t.Context(), topic, event("a", 1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: Publish returned %v", topic, err)
		}
		if err := b.Subscribe(t.Context(), bus.Subscription{Group: "g", Topics: []string{"fine", topic}}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: Subscribe returned %v", topic, err)
		}
	}
}

func TestPartitionsTellsWhereTheLogStands(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t), "partitions=4")
	one, two := unique(t, "a"), unique(t, "b")
	publish(t, b, two, events(1, 10, keys(20)...)...)
	publish(t, b, one, event("a", 1))
	parts := partitions(t, b, two, one, unique(t, "missing"), one)
	if len(parts) != 8 {
		t.Fatalf("%d partitions", len(parts))
	}
	for i, p := range parts {
		topic := []string{one, two}[i/4]
		if p.Topic != topic || p.Partition != int32(i%4) || p.Log == "" || p.First != 0 || p.Offset != 0 {
			t.Errorf("%d is %+v", i, p)
		}
	}
	if n := total(parts); n != 201 {
		t.Errorf("%d events", n)
	}
	if parts := partitions(t, b); len(parts) != 0 {
		t.Errorf("of no topics: %v", parts)
	}
}
