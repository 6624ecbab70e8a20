package service_test

import (
	"fmt"
	"testing"

	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestReplicasKeepEveryEventOnceBetweenThem(t *testing.T) {
	servicetest.PostgresOnly(t, "a SQLite file has one process")
	const users, versions = 40, 10
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	both := [2]*running{start(t, cfg, servicetest.Over(rec)), start(t, cfg, servicetest.Over(rec))}
	ids := make([]string, users)
	for i := range ids {
		ids[i] = servicetest.NewID()
		events := life(t, ids[i], versions)
		servicetest.Publish(t, rec, events...)
		servicetest.Publish(t, rec, events[:versions/2]...) // again
	}
	for i, r := range both {
		s := r.Until(fmt.Sprint("lag 0 and all events, at replica ", i), func(s lifecycle.Status) bool {
			return s.Lag == 0 && s.Keys == users && s.Versions == users*versions
		})
		if s.Count != users*versions {
			t.Errorf("replica %d counts %d events, want %d", i, s.Count, users*versions)
		}
		for _, id := range ids {
			if all, total := r.history(id, 7); len(all) != versions || total != versions {
				t.Fatalf("replica %d has %d events of %s, of %d", i, len(all), id, total)
			}
		}
	}
}
