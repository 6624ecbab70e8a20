package service_test

import (
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestOnKafkaAHistoryIsWholeOverAStopAndARedelivery(t *testing.T) {
	cfg := newConfig(t)
	b := servicetest.OnKafka(t, &cfg.Common)
	send := func(events ...bus.Event) {
		t.Helper()
		servicetest.PublishTo(t, b, cfg.Topic, events...)
	}
	const users, versions = 50, 6
	lives := make([][]bus.Event, users)
	for i := range lives {
		lives[i] = life(t, servicetest.NewID(), versions)
		send(lives[i][:versions/2]...)
	}
	run := func(events int64) *running {
		t.Helper()
		r := start(t, cfg, backends.Open)
		r.Until("every event", func(s lifecycle.Status) bool { return s.Bus && s.Lag == 0 && s.Count == events })
		return r
	}
	run(users * versions / 2).Stop()
	for _, l := range lives {
		send(l[versions/2:]...)
		send(l...) // all of it again
	}
	r := run(users * versions)
	for _, l := range lives {
		if got := r.shown(l[0].Key, 4); got != "1 2 3 4 5 6" {
			t.Fatalf("history %s", got)
		}
	}
}
