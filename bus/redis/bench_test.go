package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/tidings-dev/tidings/bus"
)

// What the benchmarks move: batches of 1,000 events with 200 bytes of data.
const (
	benchBatch = 1000
	benchBytes = 200
	benchTotal = 100_000 // events a round of consuming
)

// benchEvents makes a batch like the ones of a service: time-ordered keys, versions, one type.
func benchEvents(n int) []bus.Event {
	data := []byte(strings.Repeat("d", benchBytes))
	all := make([]bus.Event, n)
	for i := range all {
		key := fmt.Sprintf("01932b5e-7a00-7000-8000-%012x", i)
		all[i] = bus.Event{
			ID: "5f0d3a52-9f2b-5c07-9d1c-" + key[24:], Source: "/users", Type: "users.events.v1.UserCreated",
			Key: key, Version: 1, Seq: uint64(i + 1), SeqLog: "01932b5e", Time: time.Unix(1_763_800_000, 123_456_789).UTC(), Data: data,
		}
	}
	return all
}

// payloads are what the raw client sends: the same bytes, made beforehand, or nothing but the data.
func payloads(all []bus.Event, bare bool) [][]byte {
	raw := make([][]byte, len(all))
	for i := range all {
		raw[i] = all[i].Data
		if !bare {
			raw[i] = all[i].AppendEnvelope(nil)
		}
	}
	return raw
}

// rawClient is go-redis as it comes.
func rawClient(b testing.TB, url string) *goredis.Client {
	opt, err := goredis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	c := goredis.NewClient(opt)
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// rawPublish publishes a batch and reads the answers.
func rawPublish(b testing.TB, c *goredis.Client, topic string, raw [][]byte) {
	pipe := c.Pipeline()
	for _, p := range raw {
		pipe.Publish(b.Context(), topic, p)
	}
	answers, err := pipe.Exec(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, a := range answers {
		if a.Err() != nil {
			b.Fatal(a.Err())
		}
	}
}

func timed(rounds int, f func()) time.Duration {
	start := time.Now()
	for range rounds {
		f()
	}
	return time.Since(start)
}

func median(durations []time.Duration) time.Duration {
	slices.Sort(durations)
	return durations[len(durations)/2]
}

func report(b *testing.B, n int, own, raw, bare []time.Duration) {
	rate := func(d []time.Duration) float64 { return float64(n) / median(d).Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate(own), "events/s")
	b.ReportMetric(rate(raw), "raw/s")
	b.ReportMetric(rate(bare), "bare/s")
	b.ReportMetric(rate(own)/rate(raw), "of-raw")
	b.ReportMetric(rate(own)/rate(bare), "of-bare")
}

// BenchmarkPublish publishes answered batches of 1,000, to nobody. "of-raw" is the rate as a part of raw go-redis's
// that sends the same bytes, made beforehand, in a pipeline; "of-bare" as a part of its rate with nothing but data.
func BenchmarkPublish(b *testing.B) {
	url := serverURL(b)
	bb, c, topic := open(b, url), rawClient(b, url), unique(b, "topic")
	all := benchEvents(benchBatch)
	raw, bare := payloads(all, false), payloads(all, true)
	publish(b, bb, topic, all...)
	rawPublish(b, c, topic, raw)
	const rounds, turns = 40, 7
	var ownTook, rawTook, bareTook []time.Duration
	for b.Loop() {
		for range turns {
			ownTook = append(ownTook, timed(rounds, func() { publish(b, bb, topic, all...) }))
			rawTook = append(rawTook, timed(rounds, func() { rawPublish(b, c, topic, raw) }))
			bareTook = append(bareTook, timed(rounds, func() { rawPublish(b, c, topic, bare) }))
		}
	}
	report(b, rounds*benchBatch, ownTook, rawTook, bareTook)
}

// BenchmarkSubscribe publishes batches by the raw client and measures until all have been handled by a handler that
// does nothing. "of-raw" is the rate as a part of the raw client's, that reads the same bytes by ReceiveMessage and
// doesn't look into them; "of-bare" as a part of its rate with nothing but data.
func BenchmarkSubscribe(b *testing.B) {
	url := serverURL(b)
	all := benchEvents(benchBatch)
	raw, bare := payloads(all, false), payloads(all, true)
	const turns = 7
	var own, rawTook, bareTook []time.Duration
	for b.Loop() {
		for range turns {
			own = append(own, consume(b, url, raw))
			rawTook = append(rawTook, rawConsume(b, url, raw))
			bareTook = append(bareTook, rawConsume(b, url, bare))
		}
	}
	report(b, benchTotal, own, rawTook, bareTook)
}

// flood publishes benchTotal payloads to topic.
func flood(b *testing.B, c *goredis.Client, topic string, raw [][]byte) {
	for range benchTotal / len(raw) {
		rawPublish(b, c, topic, raw)
	}
}

// consume times a flood from its beginning until the last of its events has been handled.
func consume(b *testing.B, url string, raw [][]byte) time.Duration {
	bb, c, topic := open(b, url), rawClient(b, url), unique(b, "topic")
	done := make(chan struct{})
	var got atomic.Int64
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ready, ended := make(chan bool, 2), make(chan error, 1)
	sub := bus.Subscription{Group: "g", Topics: []string{topic}, OnReady: func(r bool) { ready <- r }}
	go func() {
		ended <- bb.Subscribe(ctx, sub, func(_ context.Context, d bus.Delivery) error {
			if got.Add(int64(len(d.Events))) == benchTotal {
				close(done)
			}
			return nil
		})
	}()
	<-ready
	took := timed(1, func() { flood(b, c, topic, raw); <-done })
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	return took
}

func rawConsume(b *testing.B, url string, raw [][]byte) time.Duration {
	c, topic := rawClient(b, url), unique(b, "topic")
	ps := c.Subscribe(b.Context(), topic)
	defer ps.Close()
	if _, err := ps.Receive(b.Context()); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range benchTotal {
			if _, err := ps.ReceiveMessage(b.Context()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return timed(1, func() {
		flood(b, c, topic, raw)
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkLatency publishes one event at a time, on a quiet bus, and measures from the call of Publish to the
// handler, and to the return of Publish.
func BenchmarkLatency(b *testing.B) {
	bb, topic := open(b, serverURL(b)), unique(b, "topic")
	handled := make(chan time.Time, 1)
	sub := subscribe(b, bb, bus.Subscription{Group: "g", Topics: []string{topic}},
		func(context.Context, bus.Delivery) error {
			handled <- time.Now()
			return nil
		})
	eventually(b, "the subscription", sub.isReady)
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
