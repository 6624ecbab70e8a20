package schemaregistry

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	sr "github.com/confluentinc/confluent-kafka-go/v2/schemaregistry"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/serde"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/serde/protobuf"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

// patience is how long a test waits for what has to happen.
const patience = 60 * time.Second

// TestMain fails the run when a goroutine is left behind by any test.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brokerURL is the address of a real broker where TIDINGS_TEST_KAFKA names one, else of an embedded one for this test.
func brokerURL(t *testing.T) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_KAFKA"); url != "" {
		return url
	}
	k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := k.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return k.URL()
}

// mock is the registry in memory that confluent-kafka-go brings along. It holds schemas and takes all of them.
func mock(t *testing.T) sr.Client {
	t.Helper()
	client, err := sr.NewClient(sr.NewConfig("mock://" + t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// with opens registries at client, whatever the address says.
func with(client sr.Client) kafka.OpenRegistry {
	return func(c kafka.RegistryConfig) (kafka.Registry, error) {
		return newRegistry(client, &transport{base: &http.Transport{}}, c), nil
	}
}

// open opens a bus in binary mode whose registry is what address names. More parameters begin with an &.
func open(t *testing.T, broker, address, more string, registry kafka.OpenRegistry) bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), broker+"?mode=binary&partitions=1&schema_registry="+address+more,
		kafka.Backend(kafka.WithSchemaRegistry(registry)), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, b)
	return b
}

// plain opens a bus that knows of no registry.
func plain(t *testing.T, broker, params string) bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), broker+"?partitions=1"+params, kafka.Backend(), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, b)
	return b
}

func closing(t *testing.T, b bus.Bus) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// unique makes a name that no other run uses: a real broker, or registry, keeps what tests leave there.
func unique(t *testing.T, what string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, t.Name())
	return what + "." + name + "." + strconv.FormatInt(time.Now().UnixNano(), 36)
}

// event makes version v of key's history.
func event(t *testing.T, key string, v uint64, m proto.Message) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/test", key, v, m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func publish(t *testing.T, b bus.Bus, topic string, all ...bus.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Publish(ctx, topic, all...); err != nil {
		t.Fatal(err)
	}
}

// read reads the first n events of a topic.
func read(t *testing.T, b bus.Bus, topic string, n int) (all []bus.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := b.Subscribe(ctx, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, func(_ context.Context, d bus.Delivery) error {
		if all = append(all, d.Events...); len(all) >= n {
			cancel()
		}
		return nil
	})
	if err != nil || len(all) != n {
		t.Fatalf("%d events, want %d: %v", len(all), n, err)
	}
	return all
}

// client is another program on the topic.
func client(t *testing.T, broker string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(strings.Split(strings.TrimPrefix(broker, "kafka://"), ",")...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// records reads the first n records of a topic as they are.
func records(t *testing.T, broker, topic string, n int) (all []*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cl := client(t, broker, kgo.ConsumeTopics(topic))
	for len(all) < n {
		f := cl.PollRecords(ctx, n-len(all))
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		all = append(all, f.Records()...)
	}
	return all
}

// deserializer is Confluent's, which knows the types of messages.
func deserializer(t *testing.T, registry sr.Client, messages ...proto.Message) *protobuf.Deserializer {
	t.Helper()
	d, err := protobuf.NewDeserializer(registry, serde.ValueSerde, protobuf.NewDeserializerConfig())
	if err != nil {
		t.Fatal(err)
	}
	// By record, as they are registered. Without it subjects are sought by topic.
	if err := d.ConfigureSubjectNameStrategy(serde.RecordNameStrategyType, nil, d.GetRecordName); err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if _, err := d.ProtoRegistry.FindMessageByName(m.ProtoReflect().Descriptor().FullName()); err == nil {
			continue
		}
		if err := d.ProtoRegistry.RegisterMessage(m.ProtoReflect().Type()); err != nil {
			t.Fatal(err)
		}
	}
	return d
}
