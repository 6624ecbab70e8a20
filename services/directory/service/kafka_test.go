package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// brokerURL is the broker that TIDINGS_TEST_KAFKA names, or else an embedded one.
func brokerURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_KAFKA"); url != "" {
		return url
	}
	k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{
		Addr: "127.0.0.1:0", Dir: filepath.Join(t.TempDir(), "kafka"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return k.URL()
}

func TestOnKafkaADirectoryFillsCatchesUpAndAnswersTheWriter(t *testing.T) {
	cfg := newConfig(t)
	cfg.Bus, cfg.Topic = brokerURL(t), fmt.Sprintf("directory-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	b, err := backends.Open(t.Context(), cfg.Bus, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	send := func(events ...bus.Event) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*soon)
		defer cancel()
		if err := b.Publish(ctx, cfg.Topic, events...); err != nil {
			t.Fatal(err)
		}
	}
	ada := newUser("ada@example.org", "Ada")
	created := ada.created(t)
	send(append(crowd(t, 500), created)...)
	r := start(t, cfg, backends.Open)
	r.Until("everybody", func(s lifecycle.Status) bool { return s.Count == 501 && s.Lag == 0 && s.Bus })
	r.Stop()

	send(append(crowd(t, 500), created, ada.updated(t, "ada@example.org", "Ada Lovelace"))...)
	r = start(t, cfg, backends.Open)
	resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: ada.id, MinVersion: 2})
	if err != nil || resp.GetPerson().GetName() != "Ada Lovelace" {
		t.Errorf("%v, %v", resp, err)
	}
	s := r.Until("everybody", func(s lifecycle.Status) bool { return s.Count == 1001 && s.Versions == 1002 && s.Lag == 0 })
	if s.Keys != 1001 || s.Missing+s.Dead != 0 {
		t.Errorf("status %+v", s)
	}
}
