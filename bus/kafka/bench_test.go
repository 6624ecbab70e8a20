package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// What the benchmarks move: batches of 1,000 events with 200 bytes of data.
const (
	benchBatch = 1000
	benchBytes = 200
	benchTotal = 200_000 // events a round of consuming
)

// benchEvents makes a batch like the ones of a service: time-ordered keys, versions, one type.
func benchEvents(n int) []bus.Event {
	data := []byte(strings.Repeat("d", benchBytes))
	all := make([]bus.Event, n)
	for i := range all {
		key := fmt.Sprintf("01932b5e-7a00-7000-8000-%012x", i)
		all[i] = bus.Event{
			ID: "5f0d3a52-9f2b-5c07-9d1c-" + key[24:], Source: "/users", Type: "users.events.v1.UserCreated",
			Key: key, Version: 1, Time: time.Unix(1_763_800_000, 123_456_789).UTC(), Data: data,
		}
	}
	return all
}

// record is what the raw client sends: the same bytes, made beforehand.
type record struct {
	key, value []byte
	headers    []ck.Header
}

// What a record of the raw client holds.
const (
	bare       = "bare" // key and data
	structured = "structured"
	binary     = "binary"
)

func benchRecords(all []bus.Event, mode string) []record {
	records := make([]record, len(all))
	for i := range all {
		r := record{key: []byte(all[i].Key), value: all[i].Data}
		switch mode {
		case structured:
			r.value = all[i].AppendEnvelope(nil)
			r.headers = []ck.Header{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}
		case binary:
			attrs, _ := all[i].AppendAttributes(nil, nil)
			for _, a := range attrs {
				name := "ce_" + a.Name
				if a.Name == "datacontenttype" {
					name = "content-type"
				}
				r.headers = append(r.headers, ck.Header{Key: name, Value: a.Value})
			}
		}
		records[i] = r
	}
	return records
}

func hostPort(url string) string { return strings.TrimPrefix(url, "kafka://") }

// rawPublish publishes batches with the client as it comes, with its best settings: one shared channel of reports
// without the messages' fields, no opaque, and waits for each batch by counting.
func rawPublish(b *testing.B, addr, topic string, records []record, rounds int) time.Duration {
	p, err := ck.NewProducer(&ck.ConfigMap{
		"bootstrap.servers": addr, "acks": "all", "enable.idempotence": true, "linger.ms": 0,
		"partitioner": "murmur2_random", "go.delivery.report.fields": "none", "enable.metrics.push": false,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	once := func() {
		for i := range records {
			msg := &ck.Message{TopicPartition: ck.TopicPartition{Topic: &topic, Partition: ck.PartitionAny},
				Key: records[i].key, Value: records[i].value, Headers: records[i].headers}
			if err := p.Produce(msg, nil); err != nil {
				b.Fatal(err)
			}
		}
		for n := 0; n < len(records); {
			if m, ok := (<-p.Events()).(*ck.Message); ok {
				if m.TopicPartition.Error != nil {
					b.Fatal(m.TopicPartition.Error)
				}
				n++
			}
		}
	}
	once() // connections, producer id
	start := time.Now()
	for range rounds {
		once()
	}
	return time.Since(start)
}

// rawConsume reads n messages of all partitions.
func rawConsume(b *testing.B, addr, topic string, n int) time.Duration {
	c, err := ck.NewConsumer(&ck.ConfigMap{
		"bootstrap.servers": addr, "group.id": topic + ".raw", "auto.offset.reset": "earliest",
		"enable.auto.offset.store": false, "enable.auto.commit": false, "fetch.queue.backoff.ms": 1,
		"enable.metrics.push": false,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var parts []ck.TopicPartition
	for i := range int32(12) {
		parts = append(parts, ck.TopicPartition{Topic: &topic, Partition: i, Offset: ck.OffsetBeginning})
	}
	if err := c.Assign(parts); err != nil {
		b.Fatal(err)
	}
	var start time.Time
	bytes := 0
	for got := 0; got < n; {
		switch m := c.Poll(100).(type) {
		case *ck.Message:
			if got == 0 {
				start = time.Now()
			}
			bytes += len(m.Value)
			got++
		case ck.Error:
			b.Fatal(m)
		}
	}
	return time.Since(start)
}

func median(durations []time.Duration) time.Duration {
	slices.Sort(durations)
	return durations[len(durations)/2]
}

// BenchmarkPublish publishes acknowledged batches. "of-raw" is the rate as a part of the raw client's that sends
// the same records, made beforehand; "of-bare" as a part of its rate with nothing but key and data.
func BenchmarkPublish(b *testing.B) { benchPublish(b, structured) }

// BenchmarkPublishBinary is BenchmarkPublish in binary mode, for the raw client too: the same eight headers.
func BenchmarkPublishBinary(b *testing.B) { benchPublish(b, binary) }

func benchPublish(b *testing.B, mode string) {
	url := brokerURL(b)
	bb := open(b, url, "mode="+mode)
	all := benchEvents(benchBatch)
	topics := []string{unique(b, "topic"), unique(b, "topic"), unique(b, "topic")}
	for _, topic := range topics {
		publish(b, bb, topic, all...)
	}
	const rounds, turns = 40, 5
	var own, raw, least []time.Duration
	for b.Loop() {
		for range turns {
			start := time.Now()
			for range rounds {
				publish(b, bb, topics[0], all...)
			}
			own = append(own, time.Since(start))
			raw = append(raw, rawPublish(b, hostPort(url), topics[1], benchRecords(all, mode), rounds))
			least = append(least, rawPublish(b, hostPort(url), topics[2], benchRecords(all, bare), rounds))
		}
	}
	report(b, rounds*benchBatch, own, raw, least)
}

func report(b *testing.B, n int, own, raw, least []time.Duration) {
	rate := func(d []time.Duration) float64 { return float64(n) / median(d).Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate(own), "events/s")
	b.ReportMetric(rate(raw), "raw/s")
	b.ReportMetric(rate(least), "bare/s")
	b.ReportMetric(rate(own)/rate(raw), "of-raw")
	b.ReportMetric(rate(own)/rate(least), "of-bare")
}

// BenchmarkConsume delivers events to a handler that does nothing. "of-raw" and "of-bare" are as in
// BenchmarkPublish.
func BenchmarkConsume(b *testing.B) { benchConsume(b, structured) }

// BenchmarkConsumeBinary is BenchmarkConsume in binary mode. The raw client makes headers of what it reads, and no more.
func BenchmarkConsumeBinary(b *testing.B) { benchConsume(b, binary) }

func benchConsume(b *testing.B, mode string) {
	url := brokerURL(b)
	bb := open(b, url, "mode="+mode)
	all := benchEvents(benchBatch)
	topic, bareTopic := unique(b, "topic"), unique(b, "topic")
	publish(b, bb, bareTopic, all...)
	for range benchTotal / benchBatch {
		publish(b, bb, topic, all...)
	}
	rawPublish(b, hostPort(url), bareTopic, benchRecords(all, bare), benchTotal/benchBatch)
	const turns = 5
	var own, raw, least []time.Duration
	for b.Loop() {
		for range turns {
			own = append(own, consume(b, bb, topic, benchTotal))
			raw = append(raw, rawConsume(b, hostPort(url), topic, benchTotal))
			least = append(least, rawConsume(b, hostPort(url), bareTopic, benchTotal))
		}
	}
	report(b, benchTotal, own, raw, least)
}

// consume reads n events with a group of its own, and returns the time from the first to the last.
func consume(b *testing.B, bb bus.Bus, topic string, n int) time.Duration {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var got atomic.Int64
	var start, end time.Time
	err := bb.Subscribe(ctx, bus.Subscription{Group: unique(b, "group"), Topics: []string{topic}},
		func(_ context.Context, d bus.Delivery) error {
			if start.IsZero() {
				start = time.Now()
			}
			if got.Add(int64(len(d.Events))) >= int64(n) && end.IsZero() {
				end = time.Now()
				cancel()
			}
			return nil
		})
	if err != nil {
		b.Fatal(err)
	}
	return end.Sub(start)
}

// BenchmarkLatency publishes one event at a time, on a quiet bus, and measures from the call of Publish to the
// handler, and to the return of Publish.
func BenchmarkLatency(b *testing.B) {
	bb := open(b, brokerURL(b))
	topic := unique(b, "topic")
	handled := make(chan time.Time, 1)
	sub := subscribe(b, bb, bus.Subscription{Group: unique(b, "group"), Topics: []string{topic}},
		func(context.Context, bus.Delivery) error {
			handled <- time.Now()
			return nil
		})
	publish(b, bb, topic, event("a", 1))
	<-handled
	const rounds = 2000
	var delivered, acknowledged []time.Duration
	for b.Loop() {
		for v := range rounds {
			start := time.Now()
			publish(b, bb, topic, event("a", v))
			acknowledged = append(acknowledged, time.Since(start))
			delivered = append(delivered, (<-handled).Sub(start))
		}
	}
	if err := sub.stop(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	for name, all := range map[string][]time.Duration{"handled": delivered, "acked": acknowledged} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms-"+name)
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms-"+name)
	}
}
