package service_test

import (
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// What is sent while a history is down are holes in it from the user's next event on, and what comes late closes them.
func TestOnRedisWhatWasMissedIsAHoleInTheHistory(t *testing.T) {
	cfg := newConfig(t)
	b := servicetest.OnRedis(t, &cfg.Common)
	owner := servicetest.NewNumbered(t, b, cfg.Topic)
	cfg.GapWait = 50 * time.Millisecond
	r := start(t, cfg, backends.Open)
	owner.Heard(r.Running)
	ada, alan := servicetest.NewID(), servicetest.NewID()
	hers, his := life(t, ada, 7), life(t, alan, 3)
	owner.Send(hers[:2]...)
	owner.Heard(r.Running)
	r.Stop()

	late := owner.Lose(hers[2:5]...)
	owner.Lose(his[0])
	r = start(t, cfg, backends.Open)
	if s := owner.Heard(r.Running); s.Missed != 4 || s.Missing != 0 || s.Count != 2 {
		t.Errorf("status %+v; want four missed, and none of them in a history yet", s)
	}
	if got := r.shown(ada, 0); got != "1 2" {
		t.Errorf("history %s, before the next event", got)
	}
	owner.Send(append(hers[5:], his[1:]...)...)
	s := r.Until("four versions missing", func(s lifecycle.Status) bool { return s.Missing == 4 && s.Waiting == 0 })
	if s.Missed != 4 || s.Count != 6 {
		t.Errorf("status %+v; want four missed and six events", s)
	}
	for _, pageSize := range []int32{0, 1, 2, 3} {
		if hers, his := r.shown(ada, pageSize), r.shown(alan, pageSize); hers != "1 2 3-5 6 7" || his != "1-1 2 3" {
			t.Errorf("by pages of %d: %s and %s", pageSize, hers, his)
		}
	}

	servicetest.PublishTo(t, b, cfg.Topic, late[1])
	r.Until("one of them there", func(s lifecycle.Status) bool { return s.Missed == 3 && s.Missing == 3 && s.Count == 7 })
	if got := r.shown(ada, 2); got != "1 2 3-3 4 5-5 6 7" {
		t.Errorf("history %s", got)
	}
}

// Without --gap-wait a loss is on record soon, for nothing that could fill it is kept.
func TestOnRedisAHistoryDoesNotWaitLongForWhatNeverComes(t *testing.T) {
	cfg := newConfig(t)
	owner := servicetest.NewNumbered(t, servicetest.OnRedis(t, &cfg.Common), cfg.Topic)
	r := start(t, cfg, backends.Open)
	owner.Heard(r.Running)
	id := servicetest.NewID()
	events := life(t, id, 3)
	owner.Send(events[0])
	owner.Lose(events[1])
	owner.Send(events[2])
	r.Until("a hole", func(s lifecycle.Status) bool { return s.Missing == 1 && s.Missed == 1 && s.Count == 2 })
	if got := r.shown(id, 0); got != "1 2-2 3" {
		t.Errorf("history %s", got)
	}
}
