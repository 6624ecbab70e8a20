package service_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// BenchmarkCatchUp is a new audit that reads the events of 200,000 users.
func BenchmarkCatchUp(b *testing.B) {
	const users = 200_000
	rec := bustest.NewRecorder(bustest.WithPartitions(12))
	events := make([]bus.Event, users)
	for i := range events {
		events[i] = servicetest.NewUser(fmt.Sprintf("some.person%d@example.org", i), "Some Person").Created(b)
	}
	servicetest.Publish(b, rec, events...)
	for b.Loop() {
		r := start(b, newConfig(b), servicetest.Over(rec))
		r.Within(5*time.Minute, 100*time.Millisecond, "every event", func(s lifecycle.Status) bool { return s.Count == users && s.Lag == 0 })
		r.Stop()
	}
	b.ReportMetric(float64(users*b.N)/b.Elapsed().Seconds(), "events/s")
}
