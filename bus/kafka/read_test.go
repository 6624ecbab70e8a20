package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
)

// looking is a Read in the background, and what it was told and given.
type looking struct {
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}
	err  error // once done

	mu      sync.Mutex
	events  []bus.Event
	begun   [][]bus.Partition
	missing int
}

func look(t *testing.T, url, topic string, start bus.Start) *looking {
	ctx, cancel := context.WithCancel(t.Context())
	l := &looking{t: t, stop: cancel, done: make(chan struct{})}
	r := kafka.Reading{Topic: topic, Start: start, Log: logger(t),
		OnStart: func(parts []bus.Partition) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.begun = append(l.begun, parts)
		},
		OnMissing: func([]string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.missing++
		},
	}
	go func() {
		defer close(l.done)
		l.err = kafka.Read(ctx, url, r, func(events []bus.Event) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, events...)
			return nil
		})
	}()
	t.Cleanup(l.end)
	return l
}

// end ends it as its caller does.
func (l *looking) end() {
	l.stop()
	if <-l.done; l.err != nil {
		l.t.Errorf("Read ended with %v", l.err)
	}
}

// waitFor waits for n events, and returns which they are.
func (l *looking) waitFor(n int) []string {
	l.t.Helper()
	eventually(l.t, fmt.Sprint(n, " events"), func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.events) >= n })
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make([]string, len(l.events))
	for i, e := range l.events {
		ids[i] = e.ID
	}
	return ids
}

func (l *looking) began(n int) {
	l.t.Helper()
	eventually(l.t, fmt.Sprint("the beginning is told ", n, " times"), func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.begun) >= n })
}

func admin(t *testing.T, url string) *kadm.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.TrimPrefix(url, "kafka://")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// One who looks on keeps up with what becomes of a topic: partitions are added, it is deleted, it is made anew.
func TestReadFollowsATopic(t *testing.T) {
	url, topic := brokerURL(t), unique(t, "topic")
	adm := admin(t, url)
	l := look(t, url, topic, bus.Latest())
	eventually(t, "the topic is missed", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.missing == 1 })
	publish(t, open(t, url, "partitions=2"), topic, events(1, 2, "a", "b")...)
	l.waitFor(4) // though it began at the end: then there was nothing
	l.began(1)
	if _, err := adm.CreatePartitions(t.Context(), 3, topic); err != nil {
		t.Fatal(err)
	}
	l.began(2)
	publish(t, open(t, url), topic, events(1, 1, keys(20)...)...)
	l.waitFor(24)
	if err := kafka.DeleteTopics(t.Context(), url, topic); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic is missed again", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.missing == 2 })
	publish(t, open(t, url, "partitions=1"), topic, event("anew", 1))
	got := l.waitFor(25)
	if got[24] != "anew-1" || len(got) != 25 {
		t.Errorf("read %q", got)
	}
	l.began(3)
	groups, err := adm.ListGroups(t.Context())
	if err != nil || !onRealBroker() && len(groups) > 0 {
		t.Errorf("it has left groups behind: %v, %v", groups.Groups(), err)
	}
}

func TestReadKeepsTheOrderOfAKeyAndSaysWhereAnEventStood(t *testing.T) {
	url, topic := brokerURL(t), unique(t, "topic")
	publish(t, open(t, url), topic, events(1, 50, keys(10)...)...)
	l := look(t, url, topic, bus.Earliest())
	l.waitFor(500)
	last := make(map[string]uint64)
	for _, e := range l.events {
		if e.Version != last[e.Key]+1 {
			t.Fatalf("%s comes with version %d after %d", e.Key, e.Version, last[e.Key])
		}
		if last[e.Key] = e.Version; e.At.Topic != topic || e.At.Log == "" || e.At.Offset < 0 {
			t.Fatalf("it stood at %+v", e.At)
		}
	}
}

func TestReadEndsWithTheErrorOfWhoTakes(t *testing.T) {
	url, topic := brokerURL(t), unique(t, "topic")
	publish(t, open(t, url), topic, event("a", 1))
	enough := errors.New("enough")
	err := kafka.Read(t.Context(), url, kafka.Reading{Topic: topic}, func([]bus.Event) error { return enough })
	if err != enough {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = kafka.Read(ctx, url, kafka.Reading{Topic: topic}, func([]bus.Event) error { cancel(); return enough })
	if err != enough {
		t.Errorf("with the end of its context: %v", err)
	}
}

func TestReadRefusesWhatIsWrongAtOnce(t *testing.T) {
	for url, want := range map[string]string{
		"kafka://h:1?nothing=1": "nothing", "redis://me:secret@h:1": "no address of Kafka",
		"me:secret@h:1": "no address of Kafka", "redis://h:1?password=secret": "no address of Kafka", "kafka://": "no broker", ":": "no URL",
	} {
		err := kafka.Read(t.Context(), url, kafka.Reading{Topic: "t"}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if err := kafka.Read(t.Context(), "kafka://h:1", kafka.Reading{Topic: "a b"}, nil); err == nil || !strings.Contains(err.Error(), "doesn't allow this name") {
		t.Errorf("a bad topic: %v", err)
	}
}
