package minversion_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/minversion"
)

// The inbox itself answers as the one of the other tests does.
func TestAwaitWithAnInbox(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	db, err := database.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	in, err := inbox.New(inbox.Config{Group: "g", Topics: []string{"t"}, DB: db.DB, Logger: log},
		inbox.On(func(context.Context, inbox.Tx, bus.Event, *eventsv1.UserDeleted) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	recorder := bustest.NewRecorder()
	publish := func(version uint64) {
		e, err := bus.NewEvent("/users", "k", version, &eventsv1.UserDeleted{})
		if err == nil {
			err = recorder.Publish(t.Context(), "t", e)
		}
		if err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, recorder) }()
	read := func(want uint64, limit time.Duration, deleted bool) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return minversion.Await(ctx, in, "/users", "k", want, func(context.Context) (bool, error) { return deleted, nil })
	}
	publish(1)
	if err := read(1, 10*time.Second, false); err != nil {
		t.Errorf("version 1: %v", err)
	}
	notApplied(t, read(2, 100*time.Millisecond, false), "1", "2", "behind")
	notApplied(t, read(2, 10*time.Second, true), "1", "2", "deleted")
	publish(2)
	if err := read(2, 10*time.Second, false); err != nil {
		t.Errorf("version 2: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
