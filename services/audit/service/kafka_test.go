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
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	"github.com/tidings-dev/tidings/services/audit/service"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
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

func TestOnKafkaAHistoryIsWholeOverAStopAndARedelivery(t *testing.T) {
	cfg := newConfig(t)
	cfg.Bus, cfg.Topic = brokerURL(t), fmt.Sprintf("audit-test-%d-%d", os.Getpid(), time.Now().UnixNano())
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
		ctx, cancel := context.WithTimeout(t.Context(), 3*servicetest.Soon)
		defer cancel()
		if err := b.Publish(ctx, cfg.Topic, events...); err != nil {
			t.Fatal(err)
		}
	}
	const users, versions = 50, 6
	lives := make([][]bus.Event, users)
	for i := range lives {
		lives[i] = life(t, newID(), versions)
		send(lives[i][:versions/2]...)
	}
	run := func(events int64) *running {
		t.Helper()
		s := servicetest.Start(t, backends.Open, func(env lifecycle.Env) *lifecycle.Runner { return service.New(cfg, env) })
		r := &running{Running: s, t: t, api: auditv1.NewAuditServiceClient(s.Conn)}
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
