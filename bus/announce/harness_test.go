package announce

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/bus/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what has to happen soon, on a machine that is busy.
const patience = 30 * time.Second

// the three of most tests.
func trio() []Announcement {
	return []Announcement{
		{Role: Reads, Name: "audit", Group: "audit.1", Types: []string{AnyType, "users.v1.B", "users.v1.A", "users.v1.A"}},
		{Role: Reads, Name: "mailer", Group: "mailer.2", Types: []string{"users.v1.A"}},
		{Role: Publishes, Name: "users", Group: "users", Types: nil},
	}
}

// logbook keeps what is logged. It is safe for concurrent use.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines returns those that have the text.
func (l *logbook) lines(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// announcing runs in the background until the returned function is called, which waits for its end.
func announcing(t *testing.T, run func(ctx context.Context) error) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(end)
	return end
}

// newTopic is nobody else's, on a server that others use too.
func newTopic() string {
	return "announce-test-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
}

// open opens a bus that is closed when the test ends.
func open(t *testing.T, url string, log *slog.Logger) bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), url, kafka.Backend(), redis.Backend(), bus.WithLogger(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func startKafka(t *testing.T) *embedded.Kafka {
	t.Helper()
	k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return k
}

// kafkaURL is the broker that TIDINGS_TEST_KAFKA names, or else an embedded one.
func kafkaURL(t *testing.T) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_KAFKA"); url != "" {
		return url
	}
	return startKafka(t).URL()
}

// redisURL is the server that TIDINGS_TEST_REDIS names, or else an embedded one.
func redisURL(t *testing.T) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_REDIS"); url != "" {
		return url
	}
	r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r.URL()
}

// list is List, which has to go well within patience.
func list(t *testing.T, b bus.Bus, events string, listen time.Duration) []Announcement {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all, err := List(ctx, b, events, listen)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// keys are who has announced something.
func keys(all []Announcement) string {
	var keys []string
	for _, a := range all {
		keys = append(keys, a.key())
	}
	return strings.Join(keys, " ")
}
