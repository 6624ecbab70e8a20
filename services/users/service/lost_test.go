package service_test

import (
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// A log can heal its readers; an owner whose database is gone can only say so.
func TestAnEmptyOwnerOnALogThatIsNotSaysSo(t *testing.T) {
	rec := bustest.NewRecorder()
	servicetest.Publish(t, rec, servicetest.NewUser("ada@example.org", "Ada").Created(t))
	r := start(t, newConfig(t), servicetest.Over(rec))
	s := r.Until("a note", func(s lifecycle.Status) bool { return len(s.Notes) > 0 })
	if !strings.Contains(s.Notes[0], "holds 1 events that this database never wrote") {
		t.Errorf("notes %q", s.Notes)
	}
}

func TestAnOwnerOnItsOwnLogSaysNothing(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	for _, email := range []string{"ada@example.org", "bob@example.org"} {
		r := start(t, cfg, servicetest.Over(rec))
		r.create(email, "Somebody")
		s := r.Until("the event sent, and the broker asked", func(s lifecycle.Status) bool {
			return s.Bus && s.Outbox != nil && s.Outbox.Unsent == 0
		})
		if len(s.Notes) > 0 {
			t.Errorf("notes %q", s.Notes)
		}
		r.Stop()
	}
}
