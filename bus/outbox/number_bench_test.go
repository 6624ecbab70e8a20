package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

const (
	benchEvents = 200_000 // events a turn
	benchTurns  = 3
)

// benchOutbox is one with the times that a relay really has.
func benchOutbox(b *testing.B) *Outbox {
	b.Helper()
	o, err := New(b.Context(), openDB(b, newFile(b)), WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	return o
}

// quietBus keeps nothing; durable is what it says of itself.
func quietBus(durable bool) *pubsub {
	p := newPubsub()
	p.air.durable, p.air.discard = durable, true
	return p
}

// backlog measures a relay from its start until nothing is unsent.
func backlog(b *testing.B, durable bool) time.Duration {
	b.Helper()
	o := benchOutbox(b)
	defer o.db.Close()
	for from := 0; from < benchEvents; from += 1000 {
		events := make([]bus.Event, 1000)
		for i := range events {
			events[i] = event(fmt.Sprintf("01932b5e-7a00-7000-8000-%012x", from+i), 1)
			events[i].Data = make([]byte, 200)
		}
		add(b, o, events...)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- o.Relay(ctx, quietBus(durable)) }()
	eventually(b, "the backlog to be sent", func() bool {
		return count(b, o.db, `SELECT EXISTS (SELECT 1 FROM tidings_outbox_unsent)`) == 0
	})
	took := time.Since(start)
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// BenchmarkNumbers publishes a backlog to a bus that costs nothing, with numbers and without: on a real one the
// difference is smaller.
func BenchmarkNumbers(b *testing.B) {
	var with, without []time.Duration
	for b.Loop() {
		for range benchTurns {
			without = append(without, backlog(b, true))
			with = append(with, backlog(b, false))
		}
	}
	slices.Sort(with)
	slices.Sort(without)
	rate := func(d []time.Duration) float64 { return benchEvents / d[len(d)/2].Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate(with), "numbered/s")
	b.ReportMetric(rate(without), "plain/s")
	b.ReportMetric(rate(with)/rate(without), "of-plain")
}

// BenchmarkNumberOfOne commits one event after another and waits until it is published.
func BenchmarkNumberOfOne(b *testing.B) {
	for name, durable := range map[string]bool{"numbered": false, "plain": true} {
		b.Run(name, func(b *testing.B) {
			o, p := benchOutbox(b), quietBus(durable)
			told := make(chan struct{}, 1)
			p.refuse(func(string, bus.Event) error {
				select {
				case told <- struct{}{}:
				default: // a heartbeat
				}
				return nil
			})
			stop := relaying(b, o, p)
			v := 0
			for b.Loop() {
				v++
				add(b, o, event("a", v))
				<-told
			}
			stop()
		})
	}
}
