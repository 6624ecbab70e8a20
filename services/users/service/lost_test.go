package service_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/outbox"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/service"
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

// What was purged can't be sent again: the owner says how much a log that was made anew lacks, and what to do.
func TestAnOwnerWhoseLogLacksWhatWasPurgedSaysSo(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.OutboxKeep = time.Millisecond
	sent := func(s lifecycle.Status) bool { return s.Bus && s.Outbox != nil && s.Outbox.Unsent == 0 }
	r := start(t, cfg, servicetest.Over(rec))
	r.create("ada@example.org", "Ada")
	r.Until("the event sent", sent)
	r.Stop()
	purge(t, cfg, rec)
	rec.DeleteTopic(cfg.Topic)
	servicetest.Publish(t, rec, servicetest.NewUser("bob@example.org", "Bob").Created(t))
	r = start(t, cfg, servicetest.Over(rec))
	s := r.Until("a note", func(s lifecycle.Status) bool { return len(s.Notes) > 0 })
	if !strings.Contains(s.Notes[0], "the log lacks 1 events that were sent, and purged here") {
		t.Errorf("notes %q", s.Notes)
	}
}

// purge runs the relay of a service that is stopped until nothing is held.
func purge(t *testing.T, cfg service.Config, b bus.Bus) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := database.Open(t.Context(), cfg.DB, log, database.ForService("users"))
	if err != nil {
		t.Fatal(err)
	}
	ob, err := outbox.New(t.Context(), db.DB, outbox.WithKeep(cfg.OutboxKeep), outbox.WithLogger(log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ob.Relay(ctx, b) }()
	servicetest.Await(t, servicetest.Soon, 2*time.Millisecond, "the outbox is empty", func() (bool, any) {
		var n int
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM tidings_outbox`).Scan(&n)
		return n == 0 && err == nil, n
	})
	stop()
	if err := errors.Join(<-ended, db.Close()); err != nil {
		t.Fatal(err)
	}
}
