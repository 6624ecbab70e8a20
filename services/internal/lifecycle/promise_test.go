package lifecycle_test

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// forgetful is a bus that keeps nothing.
type forgetful struct{ away }

func (forgetful) Guarantees() bus.Guarantees { return bus.Guarantees{OrderedByKey: true} }

func TestWhatABusDoesWithoutIsToldAtStartAndInTheStatus(t *testing.T) {
	var log buffer
	sp := spec(t)
	sp.Unheard = "it is counted"
	s := lifecycle.New(sp, lifecycle.Env{Log: slog.New(slog.NewTextHandler(&log, nil)), OpenBus: openBus(forgetful{})})
	l := run(t, s)
	for _, part := range []string{"level=WARN", "service=people", "keeps nothing for a service that is down", `without="durable, replayable, groups"`, `unheard="it is counted"`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("no %s in %s", part, &log)
		}
	}
	for _, state := range []lifecycle.State{lifecycle.Serving, lifecycle.Stopped} {
		st, err := s.Status(t.Context())
		if err != nil || st.State != state || st.KeepsLog || st.Guarantees != "ordered by key" || st.Without != "durable, replayable, groups" {
			t.Errorf("status %+v, %v", st, err)
		}
		l.stop()
		if state == lifecycle.Serving {
			l.end(t)
		}
	}
}

func TestADurableBusIsNoNews(t *testing.T) {
	var log buffer
	s := lifecycle.New(spec(t), lifecycle.Env{Log: slog.New(slog.NewTextHandler(&log, nil)), OpenBus: openBus(away{})})
	l := run(t, s)
	if st, err := s.Status(t.Context()); err != nil || !st.KeepsLog || st.Without != "" {
		t.Errorf("status %+v, %v", st, err)
	}
	l.end(t)
	if strings.Contains(log.String(), "keeps nothing") {
		t.Errorf("logged %s", &log)
	}
}

func TestADatabaseErrorKnowsWhetherItCanBeFilledAgain(t *testing.T) {
	for _, b := range []bus.Bus{away{}, forgetful{}} {
		sp := spec(t)
		if err := os.WriteFile(sp.Config.DB, []byte(strings.Repeat("this is no database ", 500)), 0o600); err != nil {
			t.Fatal(err)
		}
		err := newRunner(sp, b).Run(t.Context(), func(lifecycle.Info) {})
		var broken *lifecycle.DatabaseError
		if !errors.As(err, &broken) || broken.KeepsLog != b.Guarantees().Durable {
			t.Errorf("%T: %+v", b, broken)
		}
	}
}
