package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// handed is a bus that keeps nothing, and hands the test what it was given: the subscription and its handler.
type handed struct {
	forgetful
	subs chan bus.Subscription
	take chan bus.Handler
}

func newHanded() handed {
	return handed{subs: make(chan bus.Subscription, 1), take: make(chan bus.Handler, 1)}
}

func (h handed) Subscribe(ctx context.Context, s bus.Subscription, take bus.Handler) error {
	h.subs <- s
	h.take <- take
	<-ctx.Done()
	return nil
}

// listening runs a service that has an inbox over b, and logs to log.
func listening(t *testing.T, b bus.Bus, log *buffer) *lifecycle.Runner {
	t.Helper()
	sp := spec(t)
	sp.Unheard = "it is counted"
	sp.Build = func(_ context.Context, p *lifecycle.Parts) error {
		in, err := inbox.New(inbox.Config{
			Group: "people", Topics: []string{"t"}, DB: p.DB.DB, Logger: p.Log, OnReady: p.GRPC.SetBus, OnGap: p.OnGap,
		}, inbox.Any(func(context.Context, inbox.Tx, []bus.Event) error { return nil }))
		if err == nil {
			p.Consume(in)
		}
		return err
	}
	open := func(_ context.Context, _ string, log *slog.Logger) (bus.Bus, error) {
		log = log.With("backend", "test")
		log.Warn("a delivery failed and will be tried again", "attempt", 1, "err", errBroken)
		log.Warn("waiting for the server", "err", errors.New("redis://u:geheim@h:1 says:\n WRONGPASS"))
		log.Info("something else", "err", errBroken)
		return b, nil
	}
	s := lifecycle.New(sp, lifecycle.Env{Log: slog.New(slog.NewTextHandler(log, nil)), OpenBus: open})
	l := run(t, s)
	t.Cleanup(func() { l.end(t) })
	return s
}

// What a bus notices by itself is where something may be missing. It neither hides what was counted, nor lasts.
func TestAnUncountedLossNeitherHidesACountedOneNorLasts(t *testing.T) {
	b := newHanded()
	s := listening(t, b, &buffer{})
	sub, take := <-b.subs, <-b.take
	beat := func(seq uint64) {
		t.Helper()
		h := bus.Heartbeat{Topic: "t", Source: "/users", SeqLog: "l", Seq: seq}
		if err := take(t.Context(), bus.Delivery{Heartbeats: []bus.Heartbeat{h}}); err != nil {
			t.Fatal(err)
		}
	}
	status := func(counted uint64, uncounted string) {
		t.Helper()
		st, err := s.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Gap == nil && counted > 0 || st.Gap != nil && st.Gap.Missed != counted {
			t.Errorf("counted %+v, want %d", st.Gap, counted)
		}
		if st.Uncounted == nil && uncounted != "" || st.Uncounted != nil && st.Uncounted.Reason != uncounted {
			t.Errorf("uncounted %+v, want %q", st.Uncounted, uncounted)
		}
	}
	lost := bus.Gap{At: bus.Position{Topic: "t", Offset: -1}, Reason: "the connection was lost"}
	overflow := bus.Gap{At: lost.At, Missed: 99, Reason: "overflow"}
	beat(1)
	beat(4)
	status(3, "")
	sub.OnGap(t.Context(), lost)
	status(3, "the connection was lost")
	status(3, "the connection was lost")
	beat(4) // nothing new: only who knows the owner's number can tell that nothing was lost
	status(3, "the connection was lost")
	sub.OnGap(t.Context(), overflow)
	status(3, "overflow")
	beat(6)
	status(2, "")
}

// A log's own losses are counted in offsets, and nothing comes after them that says it better.
func TestOnALogTheBusItselfCounts(t *testing.T) {
	var parts *lifecycle.Parts
	sp := spec(t)
	sp.Build = func(ctx context.Context, p *lifecycle.Parts) error {
		parts = p
		in, err := inbox.New(inbox.Config{Group: "people", Topics: []string{"t"}, DB: p.DB.DB, Logger: p.Log},
			inbox.Any(func(context.Context, inbox.Tx, []bus.Event) error { return nil }))
		if err == nil {
			p.Consume(in)
		}
		return err
	}
	s := newRunner(sp, away{})
	l := run(t, s)
	defer l.end(t)
	parts.OnGap(t.Context(), bus.Gap{Missed: 280, Reason: "the log starts at 400"})
	if st, err := s.Status(t.Context()); err != nil || st.Gap == nil || st.Gap.Missed != 280 || st.Uncounted != nil {
		t.Errorf("status %+v, %v", st, err)
	}
}

func TestWhyThereIsNoBusIsWhatTheBusHasLogged(t *testing.T) {
	b := newHanded()
	var log buffer
	s := listening(t, b, &log)
	sub := <-b.subs
	st, err := s.Status(t.Context())
	if want := "redis://xxxxx@h:1 says: WRONGPASS"; err != nil || st.Bus || st.BusError != want {
		t.Errorf("status %+v, %v; want %q", st, err, want)
	}
	for _, line := range []string{"backend=test", "attempt=1", "something else"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %s in the log, which is to lose nothing: %s", line, &log)
		}
	}
	sub.OnReady(true)
	if st, err := s.Status(t.Context()); err != nil || !st.Bus || st.BusError != "" {
		t.Errorf("status %+v, %v; it stands", st, err)
	}
}

// The inbox warns of what the bus lacks, and one warning is enough.
func TestAServiceWithAnInboxIsWarnedOnceOfWhatItsBusLacks(t *testing.T) {
	b := newHanded()
	var log buffer
	listening(t, b, &log)
	<-b.subs // the inbox runs
	if n := strings.Count(log.String(), `without="durable, replayable, groups"`); n != 1 {
		t.Errorf("%d warnings in %s", n, &log)
	}
	if !strings.Contains(log.String(), `level=INFO msg="this bus keeps nothing`) || !strings.Contains(log.String(), `unheard="it is counted"`) {
		t.Errorf("it is not said what it means: %s", &log)
	}
}
