package service_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/audit/service"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// BenchmarkCatchUp is a new audit that reads the events of 200,000 users.
func BenchmarkCatchUp(b *testing.B) {
	const users = 200_000
	rec := bustest.NewRecorder(bustest.WithPartitions(12))
	events := make([]bus.Event, users)
	for i := range events {
		id, now := newID(), timestamppb.Now()
		var err error
		events[i], err = bus.NewEvent("/users", id, 1, &eventsv1.UserCreated{User: &eventsv1.User{
			Id: id, Email: fmt.Sprintf("some.person%d@example.org", i), Name: "Some Person", Version: 1, CreateTime: now, UpdateTime: now,
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := rec.Publish(b.Context(), servicetest.Topic, events...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cfg := service.Config{Common: servicetest.Common(b, "audit")}
		r := servicetest.Start(b, servicetest.Over(rec), func(env lifecycle.Env) *lifecycle.Runner {
			return service.New(cfg, env)
		})
		waitForCount(b, r, users)
		r.Stop()
	}
	b.ReportMetric(float64(users*b.N)/b.Elapsed().Seconds(), "events/s")
}

// waitForCount waits longer than a test does, and asks seldom, for asking counts the marks.
func waitForCount(b *testing.B, r *servicetest.Running, n int64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Minute); ; <-tick.C {
		s, err := r.Service.Status(b.Context())
		if err == nil && s.Count == n && s.Lag == 0 {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("it is at %+v, %v", s, err)
		}
	}
}
