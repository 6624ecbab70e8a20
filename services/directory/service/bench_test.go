package service_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/brianvoe/gofakeit/v7"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// BenchmarkCatchUp is a new directory that reads the events of 200,000 users, each with an address and a name.
func BenchmarkCatchUp(b *testing.B) {
	const users = 200_000
	rec := bustest.NewRecorder(bustest.WithPartitions(12))
	faker := gofakeit.New(1)
	events := make([]bus.Event, users)
	for i := range events {
		first, last := faker.FirstName(), faker.LastName()
		email := fmt.Sprintf("%s.%s%d@%s", strings.ToLower(first), strings.ToLower(last), i, faker.DomainName())
		events[i] = servicetest.NewUser(email, first+" "+last).Created(b)
	}
	servicetest.Publish(b, rec, events...)
	for b.Loop() {
		r := start(b, newConfig(b), servicetest.Over(rec))
		r.Within(5*time.Minute, 100*time.Millisecond, "everybody", func(s lifecycle.Status) bool { return s.Count == users && s.Lag == 0 })
		r.Stop()
	}
	b.ReportMetric(float64(users*b.N)/b.Elapsed().Seconds(), "events/s")
}
