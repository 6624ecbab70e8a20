package announce

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
)

func TestOnKafka(t *testing.T) {
	url, events, quiet := kafkaURL(t), newTopic(), slog.New(slog.DiscardHandler)
	t.Cleanup(func() { _ = kafka.DeleteTopics(context.Background(), url, Topic(events)) }) // on a server that others use
	reader := open(t, url, quiet)
	if all := list(t, reader, events, 0); len(all) != 0 {
		t.Fatalf("before anybody spoke: %+v", all)
	}
	own := open(t, url, quiet)
	announcing(t, func(ctx context.Context) error { return Run(ctx, own, events, trio(), Config{Release: "v1"}) })
	deadline := time.Now().Add(patience)
	for keys(list(t, reader, events, 0)) != allKeys {
		if time.Now().After(deadline) {
			t.Fatalf("never heard: %+v", list(t, reader, events, 0))
		}
	}
}

// A broker that doesn't let the topic be made keeps the bus waiting. It is told of once, with the broker's answer, and
// what else goes over other connections goes on.
func TestARefusalOfKafkaIsToldOnceWithItsReason(t *testing.T) {
	k, log := startKafka(t), &logbook{}
	refusal := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	own := open(t, k.URL(), slog.New(slog.DiscardHandler))
	r, err := newRun(own, "e", trio(), Config{Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	r.try = time.Second // the topic has to be made within
	announcing(t, r.loop)
	waitFor(t, "the warning", func() bool { return len(log.lines("level=WARN")) > 0 })
	if lines := log.lines("TOPIC_AUTHORIZATION_FAILED"); len(lines) != 1 {
		t.Errorf("logged %q", log.lines(""))
	}
	refusal.Remove()
	waitFor(t, "the announcement", func() bool { return len(log.lines("level=INFO")) > 0 })
	if lines := log.lines(""); len(lines) != 2 {
		t.Errorf("logged %q", lines)
	}
}

func TestOnRedis(t *testing.T) {
	url, events, log := redisURL(t), newTopic(), &logbook{}
	own := open(t, url, log.logger())
	reader := open(t, url, slog.New(slog.DiscardHandler))
	announcing(t, func(ctx context.Context) error {
		return Run(ctx, own, events, trio(), Config{Every: time.Second})
	})
	if got := keys(list(t, reader, events, 1500*time.Millisecond)); got != allKeys {
		t.Errorf("heard %q", got)
	}
	if lines := log.lines("published to nobody"); len(lines) > 0 {
		t.Errorf("announcements that nobody heard are told of: %q", lines)
	}
}

// refusing is a bus without a log whose server answers no.
type refusing struct{ bus.Bus }

func (refusing) Guarantees() bus.Guarantees { return bus.Guarantees{OrderedByKey: true} }
func (refusing) Subscribe(context.Context, bus.Subscription, bus.Handler) error {
	return errors.New("NOPERM")
}

func TestAListThatIsRefusedSaysSo(t *testing.T) {
	if _, err := List(t.Context(), refusing{}, "e", time.Second); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("got %v", err)
	}
	if every := intervalOf(refusing{}); every != ListenInterval {
		t.Errorf("on a bus without a log it is said every %v", every)
	}
}

// waitFor waits for a condition.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
