package bustest_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/kafka"
)

// TestKafkaKeepsTheContract is about the broker that every first run uses, which can be taken away.
func TestKafkaKeepsTheContract(t *testing.T) {
	broker := &restartable{cfg: embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}}
	broker.start(t)
	t.Cleanup(func() { broker.stop(t) })
	h := kafkaHarness(broker.k.URL(), 12)
	h.SetDown = broker.setDown
	bustest.Run(t, h)
}

// TestRealKafkaKeepsTheContract is about the broker that TIDINGS_TEST_KAFKA names.
func TestRealKafkaKeepsTheContract(t *testing.T) {
	url := os.Getenv("TIDINGS_TEST_KAFKA")
	if url == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("TIDINGS_TEST_KAFKA is not set")
		}
		t.Skip("it needs a real broker: TIDINGS_TEST_KAFKA is not set")
	}
	bustest.Run(t, kafkaHarness(url, 4))
}

// kafkaHarness has topics made with so many partitions: each is work for a broker, and a real one keeps them all.
func kafkaHarness(url string, partitions int) bustest.Harness {
	open := func(t *testing.T, params string, opts []bus.Option) bus.Bus {
		opts = append([]bus.Option{kafka.Backend(), bus.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil)))}, opts...)
		b, err := bus.Open(t.Context(), url+params, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	usual := fmt.Sprintf("?drain=500ms&partitions=%d", partitions) // some of the tests wait until the drain is over
	return bustest.Harness{
		Open: func(t *testing.T, opts ...bus.Option) bus.Bus { return open(t, usual, opts) },
		OpenImpatient: func(t *testing.T, opts ...bus.Option) (bus.Bus, time.Duration) {
			return open(t, usual+"&max.poll.interval=1s", opts), time.Second
		},
		Guarantees: bus.All(),
		Log:        true,
		Put: func(t *testing.T, topic, key string, value []byte) {
			putRaw(t, url, &kgo.Record{Topic: topic, Key: []byte(key), Value: value})
		},
		Timeout: time.Minute,
	}
}

// putRaw stores a record by another client than the one under test.
func putRaw(t *testing.T, url string, r *kgo.Record) {
	t.Helper()
	seeds := strings.Split(strings.TrimPrefix(url, "kafka://"), ",")
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// restartable is an embedded broker that comes back where it was.
type restartable struct {
	cfg embedded.KafkaConfig
	k   *embedded.Kafka
}

func (r *restartable) start(t *testing.T) {
	t.Helper()
	k, err := embedded.StartKafka(context.Background(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.k, r.cfg.Addr = k, k.Addr()
}

func (r *restartable) stop(t *testing.T) {
	t.Helper()
	if r.k == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.k.Close(ctx); err != nil {
		t.Error(err)
	}
	r.k = nil
}

func (r *restartable) setDown(t *testing.T, down bool) {
	t.Helper()
	if down {
		r.stop(t)
	} else {
		r.start(t)
	}
}
