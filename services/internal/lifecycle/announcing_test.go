package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/announce"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// over opens connections to rec, each its own.
func over(rec *bustest.Recorder) lifecycle.OpenBus {
	return func(ctx context.Context, _ string, log *slog.Logger) (bus.Bus, error) {
		return bus.Open(ctx, "recorder://memory", rec.Backend(), bus.WithLogger(log))
	}
}

// telling is a service that reads one type and publishes another, and announces it.
func telling(t *testing.T) lifecycle.Spec {
	t.Helper()
	sp := spec(t)
	sp.Config.Announce = true
	sp.Build = func(_ context.Context, p *lifecycle.Parts) error {
		in, err := inbox.New(inbox.Config{
			Group: "people", Topics: []string{"t"}, DB: p.DB.DB, Logger: p.Log, OnReady: p.GRPC.SetBus,
		}, inbox.On(func(context.Context, inbox.Tx, bus.Event, *eventsv1.UserCreated) error { return nil }))
		if err != nil {
			return err
		}
		p.Consume(in)
		p.Publishes("people.v1.B", "people.v1.A")
		return nil
	}
	return sp
}

func TestAServiceAnnouncesWhatItReadsAndPublishes(t *testing.T) {
	rec := bustest.NewRecorder()
	l := run(t, lifecycle.New(telling(t), lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: over(rec)}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := rec.WaitPublished(ctx, "t_readers", 2); err != nil {
		t.Fatal(err)
	}
	all, err := announce.List(ctx, rec, "t", 0)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	p, r := all[0], all[1]
	if p.Role != announce.Publishes || p.Name != "people" || p.Group != "people" || strings.Join(p.Types, " ") != "people.v1.A people.v1.B" {
		t.Errorf("%+v", p)
	}
	if r.Role != announce.Reads || r.Name != "people" || !strings.HasPrefix(r.Group, "people.") || strings.Join(r.Types, " ") != "users.events.v1.UserCreated" {
		t.Errorf("%+v", r)
	}
	if p.Release == "" || p.Topic != "t" || p.Every != 3600 {
		t.Errorf("%+v", p)
	}
	l.end(t)
	if events := rec.Published("t"); len(events) > 0 {
		t.Errorf("on the events' own topic: %+v", events)
	}
}

func TestNothingIsAnnouncedUnlessItIsToBe(t *testing.T) {
	rec := bustest.NewRecorder()
	var opened atomic.Int32
	env := lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: func(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error) {
		opened.Add(1)
		return over(rec)(ctx, url, log)
	}}
	sp := telling(t)
	sp.Config.Announce = false
	l := run(t, lifecycle.New(sp, env))
	l.end(t)
	if n := len(rec.Published("t_readers")); n != 0 || opened.Load() != 1 {
		t.Errorf("%d announcements over %d connections", n, opened.Load())
	}
}

// Whatever is the matter with announcing, the service does what it is for.
func TestAServiceThatCannotAnnounceServes(t *testing.T) {
	for name, tt := range map[string]struct {
		second error                                 // of the second connection
		fail   func(topic string, _ bus.Event) error // of publishing
		want   string
	}{
		"no connection": {second: errBroken, want: "is not announced; all else goes on"},
		"not allowed to": {fail: func(topic string, _ bus.Event) error {
			if topic == "t_readers" {
				return errors.New("you may not write there")
			}
			return nil
		}, want: "you may not write there"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, log := bustest.NewRecorder(), &buffer{}
			rec.FailPublish(tt.fail)
			var opened atomic.Int32
			s := lifecycle.New(telling(t), lifecycle.Env{
				Log: slog.New(slog.NewTextHandler(log, nil)),
				OpenBus: func(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error) {
					if opened.Add(1) > 1 && tt.second != nil {
						return nil, tt.second
					}
					return over(rec)(ctx, url, log)
				},
			})
			l := run(t, s)
			e, err := bus.NewEvent("/users", "ada", 1, &eventsv1.UserCreated{})
			if err == nil {
				err = rec.Publish(t.Context(), "t", e)
			}
			if err != nil {
				t.Fatal(err)
			}
			statusIs(t, s, func(st lifecycle.Status) bool {
				return st.Bus && st.Versions == 1 && st.Lag == 0 && strings.Contains(log.String(), tt.want)
			})
			l.end(t)
			if n := strings.Count(log.String(), tt.want); n != 1 {
				t.Errorf("told %d times:\n%s", n, log.String())
			}
		})
	}
}

// What the connection for announcements has to say of the broker is said once, by the service's own.
func TestTheConnectionForAnnouncementsIsQuiet(t *testing.T) {
	rec, log, second := bustest.NewRecorder(), &buffer{}, make(chan *slog.Logger, 1)
	var opened atomic.Int32
	l := run(t, lifecycle.New(telling(t), lifecycle.Env{
		Log: slog.New(slog.NewTextHandler(log, nil)),
		OpenBus: func(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error) {
			if opened.Add(1) == 2 {
				second <- log
			}
			return over(rec)(ctx, url, log)
		},
	}))
	own := <-second
	own.With("a", 1).WithGroup("g").Error("the broker is away")
	l.end(t)
	if strings.Contains(log.String(), "the broker is away") {
		t.Errorf("logged:\n%s", log.String())
	}
	debug := &buffer{}
	s := lifecycle.New(telling(t), lifecycle.Env{
		Log: slog.New(slog.NewTextHandler(debug, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OpenBus: func(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error) {
			log.Error("the broker is away")
			return over(rec)(ctx, url, log)
		},
	})
	l = run(t, s)
	statusIs(t, s, func(lifecycle.Status) bool {
		return strings.Contains(debug.String(), `level=DEBUG msg="the broker is away" service=people for=announcements`)
	})
	l.end(t)
}
