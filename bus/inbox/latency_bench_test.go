package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/outbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// Events that are sent one by one: those that are measured come after those that warm everything up.
const (
	warmUp   = 50
	measured = 400
)

// BenchmarkOneEvent measures one event at a time, on a quiet system, from the commit in the owner's database until it
// is applied in another service's: outbox, relay, Kafka, inbox. "of-raw" is its median time as a part of that of the
// client's own producer and consumer with the same rows in SQLite and nothing in between.
func BenchmarkOneEvent(b *testing.B) {
	url := brokerURL(b)
	var ours, raw []time.Duration
	for range b.N {
		ours = append(ours, oneByOne(b, url)...)
		raw = append(raw, rawOneByOne(b, url)...)
	}
	slices.Sort(ours)
	slices.Sort(raw)
	ms := func(all []time.Duration, percent int) float64 { return all[len(all)*percent/100].Seconds() * 1000 }
	b.ReportMetric(ms(ours, 50), "p50-ms")
	b.ReportMetric(ms(ours, 99), "p99-ms")
	b.ReportMetric(ms(raw, 50), "raw-p50-ms")
	b.ReportMetric(ms(raw, 99), "raw-p99-ms")
	b.ReportMetric(ms(ours, 50)/ms(raw, 50), "of-raw")
}

// oneByOne sends events through the whole of Tidings.
func oneByOne(b *testing.B, url string) (took []time.Duration) {
	b.Helper()
	bb, topic := openBus(b, url), uniqueTopic()
	ownerDB := openDB(b, filepath.Join(b.TempDir(), "owner.db"))
	owner, err := outbox.New(b.Context(), ownerDB, outbox.WithLogger(new(logs).logger()))
	if err != nil {
		b.Fatal(err)
	}
	cfg := config(b, benchDB(b, "reader.db"))
	cfg.Topics, cfg.Logger = []string{topic}, new(logs).logger()
	reader := mustNew(b, cfg, Batch(upsertPeople, &eventsv1.UserCreated{}))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 2)
	go func() { done <- owner.Relay(ctx, bb) }()
	go func() { done <- reader.Run(ctx, bb) }()
	for i := range warmUp + measured {
		e := created(b, fmt.Sprint("k", i), 1, "One")
		err := owner.InTx(ctx, func(ctx context.Context, tx outbox.Tx) error { return owner.Add(ctx, tx, topic, e) })
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		await(b, reader, e.Key, 1)
		if i >= warmUp {
			took = append(took, time.Since(start))
		}
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return took
}

// rawOneByOne sends as many by the client's own producer and consumer; the reader stores mark, row and offset.
func rawOneByOne(b *testing.B, url string) (took []time.Duration) {
	b.Helper()
	addr, topic := strings.TrimPrefix(url, "kafka://"), uniqueTopic()
	p, err := ck.NewProducer(&ck.ConfigMap{
		"bootstrap.servers": addr, "acks": "all", "enable.idempotence": true, "linger.ms": 0, "enable.metrics.push": false,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if err := openBus(b, url).Publish(b.Context(), topic, created(b, "makes the topic", 1, "")); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	applied, done := make(chan string, 1), make(chan error, 1)
	db := benchDB(b, "raw.db")
	go func() { done <- rawReader(ctx, addr, topic, db, applied) }()
	<-applied
	for i := range warmUp + measured {
		e := created(b, fmt.Sprint("k", i), 1, "One")
		start := time.Now()
		m := &ck.Message{TopicPartition: ck.TopicPartition{Topic: &topic, Partition: ck.PartitionAny}, Key: []byte(e.Key), Value: e.AppendEnvelope(nil)}
		if err := p.Produce(m, nil); err != nil {
			b.Fatal(err)
		}
		for <-applied != e.Key {
		}
		if i >= warmUp {
			took = append(took, time.Since(start))
		}
		<-p.Events()
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// rawReader applies what it reads, each message in a commit of its own, and tells its key.
func rawReader(ctx context.Context, addr, topic string, db *sql.DB, applied chan<- string) error {
	c, err := ck.NewConsumer(&ck.ConfigMap{
		"bootstrap.servers": addr, "group.id": topic + ".raw", "enable.auto.commit": false,
		"enable.auto.offset.store": false, "fetch.queue.backoff.ms": 1, "enable.metrics.push": false,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	var parts []ck.TopicPartition
	for p := range int32(12) {
		parts = append(parts, ck.TopicPartition{Topic: &topic, Partition: p, Offset: 0})
	}
	if err := c.Assign(parts); err != nil {
		return err
	}
	if err := rawTables(db); err != nil {
		return err
	}
	return onDriver(db, func(s *rawStore) error {
		for ctx.Err() == nil {
			m, ok := c.Poll(50).(*ck.Message)
			if !ok {
				continue
			}
			e, err := bus.ParseEnvelope(m.Value)
			if err != nil {
				return err
			}
			s.events = append(s.events, e)
			s.next[m.TopicPartition.Partition] = int64(m.TopicPartition.Offset) + 1
			if err := s.commit(); err != nil {
				return err
			}
			applied <- e.Key
		}
		return nil
	})
}
