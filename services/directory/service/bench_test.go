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
		events[i] = newUser(email, first+" "+last).created(b)
	}
	publish(b, rec, events...)
	for b.Loop() {
		r := start(b, newConfig(b), over(rec))
		r.within(b, 5*time.Minute, func(s lifecycle.Status) bool { return s.Count == users && s.Lag == 0 })
		r.Stop()
	}
	b.ReportMetric(float64(users*b.N)/b.Elapsed().Seconds(), "events/s")
}

// within waits longer than a test does, and asks seldom, for asking counts the marks.
func (r *running) within(b *testing.B, limit time.Duration, is func(lifecycle.Status) bool) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		s, err := r.Service.Status(b.Context())
		if err == nil && is(s) {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("it is at %+v, %v", s, err)
		}
	}
}
