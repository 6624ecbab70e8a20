package kafka_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestDeleteTopicsDeletesThemAndNoOthers(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url)
	first, second, other := unique(t, "first"), unique(t, "second"), unique(t, "other")
	for _, topic := range []string{first, second, other} {
		publish(t, b, topic, event("a", 1))
	}
	log := partitions(t, b, first)[0].Log
	for range 2 { // the second time they are gone already
		if err := kafka.DeleteTopics(t.Context(), url+"?linger=1", first, second); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the topics to be gone", func() bool { return len(partitions(t, b, first, second)) == 0 })
	}
	if n := len(partitions(t, b, other)); n != 12 {
		t.Errorf("the other topic has %d partitions", n)
	}
	eventually(t, "publishing anew", func() bool { return b.Publish(t.Context(), first, event("a", 1)) == nil })
	eventually(t, "the new topic", func() bool {
		parts := partitions(t, b, first)
		return len(parts) > 0 && parts[0].Log != log
	})
	if err := kafka.DeleteTopics(t.Context(), url, first, other); err != nil {
		t.Error(err)
	}
}

// Whoever has looked at the topic knows that it is another one; what is stored next must not be told as being in the old.
func TestWhereAnEventStandsIsToldOfTheTopicThatPartitionsTold(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b, other, topic := open(t, url), open(t, url), unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	old := partitions(t, b, topic)[0].Log
	if err := kafka.DeleteTopics(t.Context(), url, topic); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic to be gone", func() bool { return len(partitions(t, other, topic)) == 0 })
	publish(t, other, topic, event("a", 2))
	var log string
	eventually(t, "the new topic", func() bool {
		parts := partitions(t, b, topic)
		if len(parts) > 0 {
			log = parts[0].Log
		}
		return log != "" && log != old
	})
	for _, key := range keys(20) { // most of them on partitions of which b knows nothing
		e := []bus.Event{event(key, 1)}
		if err := b.Publish(t.Context(), topic, e...); err != nil || e[0].At.Log != log {
			t.Fatalf("stored at %+v, and the topic is %s: %v", e[0].At, log, err)
		}
	}
}

func TestDeleteTopicsRefusesWhatItCannotMean(t *testing.T) {
	for _, c := range []struct{ url, topic, want string }{
		{"redis://h:6379", "t", "redis://h:6379 is no address of Kafka; write kafka://host:9092"},
		{"kafka", "t", "kafka is no address of Kafka"},
		{"kafka://me:secret@h", "t", "a user doesn't belong in the address"},
		{"kafka://me:secret@h:x", "t", "the address is no URL"},
		{"kafka://h?ack=1", "t", `did you mean "acks"?`},
		{"kafka://h", "", "Kafka doesn't allow this name"},
		{"kafka://h", "^a", "Kafka doesn't allow this name"},
	} {
		err := kafka.DeleteTopics(t.Context(), c.url, "fine", c.topic)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s, topic %q: %v, want %q", c.url, c.topic, err, c.want)
		}
	}
	if err := kafka.DeleteTopics(t.Context(), "kafka://192.0.2.1:9092"); err != nil { // which nobody has
		t.Errorf("no topics: %v", err)
	}
}

func TestDeleteTopicsWaitsForABrokerUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("patience is over"))
	defer cancel()
	if err := kafka.DeleteTopics(ctx, "kafka://"+addr, "t"); err == nil || !strings.Contains(err.Error(), "patience is over") {
		t.Errorf("without a broker: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- kafka.DeleteTopics(t.Context(), "kafka://"+addr, "t") }()
	startBroker(t, t.TempDir(), addr)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDeleteTopicsTellsWhatTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	k := startBroker(t, t.TempDir(), "127.0.0.1:0")
	b := open(t, k.URL())
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	for _, c := range []struct {
		err     *kerr.Error
		refused bool
	}{{kerr.TopicDeletionDisabled, true}, {kerr.RequestTimedOut, false}} {
		fault := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DeleteTopics}, Err: c.err, Count: 1})
		err := kafka.DeleteTopics(t.Context(), k.URL(), topic)
		if errors.Is(err, c.err) != c.refused || c.refused && !strings.Contains(err.Error(), topic) {
			t.Errorf("%v: %v", c.err, err)
		}
		fault.Remove()
	}
	if n := len(partitions(t, b, topic)); n != 0 {
		t.Errorf("%d partitions are left once the broker had its time", n)
	}
}
