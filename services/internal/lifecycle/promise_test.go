package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// forgetful is a bus that keeps nothing.
type forgetful struct{ away }

func (forgetful) Guarantees() bus.Guarantees { return bus.Guarantees{OrderedByKey: true} }

// careless is a log that is not durable: it can be asked, if its broker is there.
type careless struct {
	forgetful
	err error
}

func (c careless) Partitions(ctx context.Context, _ ...string) ([]bus.Partition, error) {
	if ctx.Err() == nil {
		return nil, errors.New("it would wait for a broker")
	}
	return nil, c.err
}

func TestABusThatIsNotDurableMayKeepALogAllTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		bus  bus.Bus
		want bool
	}{
		"durable":                    {away{}, true},
		"in memory":                  {bustest.NewRecorder(), true},
		"nobody to ask":              {forgetful{}, false},
		"nobody to ask, wrapped":     {bus.Wrap(forgetful{}), false},
		"a log whose broker is away": {careless{err: context.Canceled}, true},
		"it says that there is none": {careless{err: fmt.Errorf("no log: %w", errors.ErrUnsupported)}, false},
	} {
		if got := lifecycle.KeepsLog(c.bus); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

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
