package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/bus/outbox"
)

const (
	relayEvents = 200_000 // events a turn
	relayTurns  = 3
	benchBytes  = 200
)

// brokerURL is a real broker where TIDINGS_TEST_KAFKA names one, else an embedded one.
func brokerURL(b *testing.B) string {
	b.Helper()
	if url := os.Getenv("TIDINGS_TEST_KAFKA"); url != "" {
		return url
	}
	k, err := embedded.StartKafka(b.Context(), embedded.KafkaConfig{
		Addr: "127.0.0.1:0", Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return k.URL()
}

func openBus(b *testing.B, url string) bus.Bus {
	b.Helper()
	kb, err := bus.Open(b.Context(), url, kafka.Backend(), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := kb.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return kb
}

// openOwner makes an owner's database and its outbox.
func openOwner(b *testing.B) (*sql.DB, *outbox.Outbox) {
	b.Helper()
	file := filepath.Join(b.TempDir(), fmt.Sprintf("owner%d.db", time.Now().UnixNano()))
	db, err := sql.Open("sqlite3", "file:"+file+"?_txlock=immediate&_busy_timeout=10000&_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	ob, err := outbox.New(b.Context(), db, outbox.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	return db, ob
}

func benchEvent(i int) bus.Event {
	key := fmt.Sprintf("01932b5e-7a00-7000-8000-%012x", i)
	return bus.Event{
		ID: "5f0d3a52-9f2b-5c07-9d1c-" + key[24:], Source: "/users", Type: "users.events.v1.UserCreated",
		Key: key, Version: 1, Time: time.Unix(1_763_800_000, 123_456_789).UTC(), Data: make([]byte, benchBytes),
	}
}

// fill commits n events in transactions of 1,000.
func fill(b *testing.B, ob *outbox.Outbox, topic string, n int) {
	b.Helper()
	for from := 0; from < n; from += 1000 {
		events := make([]bus.Event, min(1000, n-from))
		for i := range events {
			events[i] = benchEvent(from + i)
		}
		err := ob.InTx(b.Context(), func(ctx context.Context, tx outbox.Tx) error { return ob.Add(ctx, tx, topic, events...) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

// relayAll measures a relay from its start until nothing is unsent.
func relayAll(b *testing.B, kb bus.Bus, topic string) time.Duration {
	b.Helper()
	db, ob := openOwner(b)
	defer db.Close()
	fill(b, ob, topic, relayEvents)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- ob.Relay(ctx, kb) }()
	for pending := true; pending; time.Sleep(time.Millisecond) {
		if err := db.QueryRow(`SELECT EXISTS (SELECT 1 FROM tidings_outbox_unsent)`).Scan(&pending); err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(start)
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// BenchmarkRelay publishes a backlog from SQLite to Kafka. "of-raw" is its rate as a part of that of a loop that is
// written by hand for this one purpose, on the raw client and the raw driver: see raw_test.go.
func BenchmarkRelay(b *testing.B) {
	url := brokerURL(b)
	kb := openBus(b, url)
	topic := fmt.Sprintf("bench.relay.%x", time.Now().UnixNano())
	if err := kb.Publish(b.Context(), topic, benchEvent(0)); err != nil { // makes the topic
		b.Fatal(err)
	}
	var own, raw []time.Duration
	for b.Loop() {
		for range relayTurns {
			own = append(own, relayAll(b, kb, topic))
			raw = append(raw, rawRelayAll(b, strings.TrimPrefix(url, "kafka://"), topic))
		}
	}
	slices.Sort(own)
	slices.Sort(raw)
	rate := func(d []time.Duration) float64 { return relayEvents / d[len(d)/2].Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate(own), "events/s")
	b.ReportMetric(rate(raw), "raw/s")
	b.ReportMetric(rate(own)/rate(raw), "of-raw")
}

// BenchmarkInTx is a write door's transaction, a row of its own and an event, by many callers at once.
func BenchmarkInTx(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			db, ob := openOwner(b)
			if _, err := db.Exec(`CREATE TABLE users (id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID`); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if err := writeUser(b.Context(), ob, int(i)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}

func writeUser(ctx context.Context, ob *outbox.Outbox, i int) error {
	e := benchEvent(i)
	return ob.InTx(ctx, func(ctx context.Context, tx outbox.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO users (id, version) VALUES ($1, 1)`, e.Key); err != nil {
			return err
		}
		return ob.Add(ctx, tx, "user_activity", e)
	})
}
