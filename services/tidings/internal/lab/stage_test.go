package lab

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// scripted is a service whose Run is the test's.
type scripted struct {
	lifecycle.Service
	run func(ctx context.Context, ready func(lifecycle.Info)) error
}

func (s scripted) Run(ctx context.Context, ready func(lifecycle.Info)) error {
	return s.run(ctx, ready)
}

func TestANewcomerRunsOnWhenTheCallThatStartedItHasEnded(t *testing.T) {
	fault := errors.New("could not close")
	ctx, cancel := context.WithCancel(t.Context())
	g, err := welcome(ctx, scripted{run: func(ctx context.Context, ready func(lifecycle.Info)) error {
		ready(lifecycle.Info{})
		<-ctx.Done()
		return fault
	}})
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-g.ended:
		t.Fatalf("it ended with the call: %v", err)
	default:
	}
	if err := g.stop(); !errors.Is(err, fault) {
		t.Errorf("stop: %v, want what Run has returned", err)
	}
}

func TestANewcomerThatDoesNotStartSaysWhy(t *testing.T) {
	for _, fault := range []error{errors.New("no space left"), nil} {
		g, err := welcome(t.Context(), scripted{run: func(context.Context, func(lifecycle.Info)) error { return fault }})
		if g != nil || err == nil || !strings.Contains(err.Error(), "does not start") || fault != nil && !errors.Is(err, fault) {
			t.Errorf("%v: got %v, %v", fault, g, err)
		}
	}
}

func TestANewcomerIsStoppedWhenTheWaitForItEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stopped := false
	g, err := welcome(ctx, scripted{run: func(ctx context.Context, _ func(lifecycle.Info)) error {
		cancel()
		<-ctx.Done()
		stopped = true
		return nil
	}})
	if g != nil || !errors.Is(err, context.Canceled) || !stopped {
		t.Errorf("got %v, %v, stopped %t", g, err, stopped)
	}
}

func TestTopicsAreNobodyElses(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		s, err := newStage(t.Context(), only(t, "kafka")[0], Config{Kafka: "kafka://127.0.0.1:1"}.withDefaults(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.topic, "tidings-lab-") || len(s.topic) < len("tidings-lab-")+12 || seen[s.topic] {
			t.Errorf("topic %q", s.topic)
		}
		seen[s.topic] = true
		if err := s.platform.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestABusIsTheOneInsideUnlessTold(t *testing.T) {
	for _, k := range kinds() {
		if got := k.address(Config{}); got != k.id {
			t.Errorf("%s: %q", k.name, got)
		}
		given := Config{Kafka: "kafka://h:1", Redis: "redis://h:1"}
		if got := k.address(given); got != k.id+"://h:1" {
			t.Errorf("%s: %q", k.name, got)
		}
	}
}

func TestTheLastWordsAreTheLastReasonGiven(t *testing.T) {
	words := &lastWords{}
	log := slog.New(words).With("service", "users").WithGroup("more")
	if words.String() != "" {
		t.Errorf("said %q before anybody had", words)
	}
	log.Warn("waiting", "n", 1, "err", errors.New("refused"))
	log.Error("broken", "err", "a wrong password")
	log.Info("no matter", "err", errors.New("not this"))
	log.Warn("nor this, for it gives no reason", "n", 2)
	if got, want := words.String(), "broken: a wrong password"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
