package schemagate_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemagate"
)

// records are the golden event as records of Kafka, one of each mode.
func records(g schemagate.Golden, topic string) []*kgo.Record {
	key := []byte(g.Attributes["subject"])
	binary := &kgo.Record{Topic: topic, Key: key, Value: g.Payload}
	for _, h := range g.Headers {
		binary.Headers = append(binary.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return []*kgo.Record{
		{Topic: topic, Key: key, Value: g.Structured, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}},
		binary,
	}
}

// Recorded bytes that somebody else's client puts into a real log arrive as the events that they are, in either mode.
func TestGoldenRecordsArriveOverKafka(t *testing.T) {
	url, topic := servicetest.KafkaURL(t), servicetest.NewTopic()
	b, err := backends.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	want := map[string]bus.Event{}
	var all []*kgo.Record
	for _, g := range corpus(t) {
		e, _, err := g.Events()
		if err != nil {
			t.Fatal(err)
		}
		want[e.ID] = e
		all = append(all, records(g, topic)...)
	}
	// One is forwarded by today's bus, which also makes the topic.
	first := corpus(t)[0]
	forwarded, _, err := first.Events()
	if err != nil {
		t.Fatal(err)
	}
	servicetest.PublishTo(t, b, topic, forwarded)
	put(t, url, topic, all)

	ctx, done := context.WithTimeout(t.Context(), 3*servicetest.Soon)
	defer done()
	var mu sync.Mutex
	var got []bus.Event
	err = b.Subscribe(ctx, bus.Subscription{Group: topic, Topics: []string{topic}}, func(_ context.Context, d bus.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		if got = append(got, d.Events...); len(got) > len(all) {
			done()
		}
		return nil
	})
	if err != nil || len(got) != len(all)+1 {
		t.Fatalf("%d of %d records arrived, %v", len(got), len(all)+1, err)
	}
	for _, e := range got {
		if diff := cmp.Diff(want[e.ID], e, cmpopts.IgnoreFields(bus.Event{}, "At")); diff != "" {
			t.Errorf("recorded (-), arrived (+):\n%s", diff)
		}
	}
}

// put writes records with a client that is not ours.
func put(t *testing.T, url, topic string, all []*kgo.Record) {
	t.Helper()
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "kafka://"), "?")
	c, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(host, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*servicetest.Soon)
	defer cancel()
	if err := c.ProduceSync(ctx, all...).FirstErr(); err != nil {
		t.Fatalf("%s: %v", topic, err)
	}
}
