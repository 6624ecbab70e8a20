package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/bus/outbox"
)

const (
	kafkaKeys     = 20
	kafkaVersions = 30
	patience      = 60 * time.Second
)

// broker is a real one, which stays up, or an embedded one, which goes away and comes back.
type broker struct {
	t   *testing.T
	url string
	dir string
	k   *embedded.Kafka
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_KAFKA"); url != "" {
		return &broker{t: t, url: url}
	}
	br := &broker{t: t, dir: t.TempDir()}
	br.start("127.0.0.1:0")
	br.url = br.k.URL()
	t.Cleanup(func() { br.stop() })
	return br
}

func (br *broker) start(addr string) {
	br.t.Helper()
	k, err := embedded.StartKafka(br.t.Context(), embedded.KafkaConfig{Addr: addr, Dir: br.dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		br.t.Fatal(err)
	}
	br.k = k
}

func (br *broker) stop() (addr string) {
	br.t.Helper()
	if br.k == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addr = br.k.Addr()
	if err := br.k.Close(ctx); err != nil {
		br.t.Error(err)
	}
	return addr
}

func (br *broker) open() bus.Bus {
	br.t.Helper()
	b, err := bus.Open(br.t.Context(), br.url, kafka.Backend(), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		br.t.Fatal(err)
	}
	br.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			br.t.Error(err)
		}
	})
	return b
}

// running runs fn until the test ends, which waits for it; so what it uses must have been made before.
func running(t *testing.T, what string, fn func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
}

func TestRelayToKafkaWhoseBrokerGoesAway(t *testing.T) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "owner.db")+
		"?_txlock=immediate&_busy_timeout=10000&_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	ob, err := outbox.New(t.Context(), db, outbox.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	br := startBroker(t)
	b := br.open()
	topic := fmt.Sprintf("outbox.%x", time.Now().UnixNano())
	read := &reader{last: make(map[string]uint64), at: make(map[string]bus.Position)}
	running(t, "relay", func(ctx context.Context) error { return ob.Relay(ctx, b) })
	running(t, "reader", func(ctx context.Context) error {
		return b.Subscribe(ctx, bus.Subscription{Group: topic, Topics: []string{topic}}, read.handle)
	})

	write := func(from, to uint64) {
		t.Helper()
		for v := from; v <= to; v++ {
			for k := range kafkaKeys {
				e := benchEvent(k)
				e.ID, e.Version = fmt.Sprintf("%d-%d", k, v), v
				err := ob.InTx(t.Context(), func(ctx context.Context, tx outbox.Tx) error { return ob.Add(ctx, tx, topic, e) })
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write(1, 10)
	addr := br.stop()
	write(11, 20) // a write waits for no broker
	if addr != "" {
		br.start(addr)
	}
	write(21, kafkaVersions)
	read.wait(t, kafkaKeys*kafkaVersions)

	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s, err := ob.Status(t.Context())
		if err == nil && s.Pending == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %+v, %v", s, err)
		}
	}
	read.check(t, db)
}

// reader notes what arrives.
type reader struct {
	mu     sync.Mutex
	last   map[string]uint64
	at     map[string]bus.Position
	faults []string
}

func (r *reader) handle(_ context.Context, d bus.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range d.Events {
		if e.Version > r.last[e.Key]+1 {
			r.faults = append(r.faults, fmt.Sprintf("key %s: version %d after %d", e.Key, e.Version, r.last[e.Key]))
		}
		r.last[e.Key] = max(r.last[e.Key], e.Version)
		if _, known := r.at[e.ID]; !known {
			r.at[e.ID] = e.At
		}
	}
	return nil
}

func (r *reader) wait(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		have := len(r.at)
		r.mu.Unlock()
		if have == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d events have arrived", have, n)
		}
	}
}

// check compares with what the outbox says of where the events went.
func (r *reader) check(t *testing.T, db *sql.DB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		t.Error(f)
	}
	elsewhere := 0
	for id, at := range r.at {
		var log string
		var part int32
		var off int64
		err := db.QueryRow(`SELECT log, part, off FROM tidings_outbox_sent JOIN tidings_outbox USING (position) WHERE id = $1`, id).Scan(&log, &part, &off)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if log != at.Log || part != at.Partition || off < at.Offset {
			t.Errorf("%s is marked at %s/%d/%d and was read at %+v", id, log, part, off, at)
		}
		if off != at.Offset {
			elsewhere++ // published more than once
		}
	}
	t.Logf("%d of %d events were published more than once", elsewhere, len(r.at))
}
