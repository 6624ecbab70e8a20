package announce

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

const allKeys = "publishes/users/users reads/audit/audit.1 reads/mailer/mailer.2"

func TestWhatIsSaidIsSaidAtOnceAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := bustest.NewRecorder()
		end := announcing(t, func(ctx context.Context) error {
			return Run(ctx, rec, "user_activity", trio(), Config{Release: "v1.2.3"})
		})
		synctest.Wait()
		if n := len(rec.Published("user_activity_readers")); n != 3 {
			t.Fatalf("%d at the start, want 3", n)
		}
		time.Sleep(10 * time.Hour) // of the test's own clock
		synctest.Wait()
		if n := len(rec.Published("user_activity_readers")) / 3; n < 9 || n > 12 {
			t.Errorf("said %d times in 10 hours", n)
		}
		if n := len(rec.Published("user_activity")); n != 0 {
			t.Errorf("%d on the topic of the events", n)
		}
		end()
		said := len(rec.Published("user_activity_readers"))
		time.Sleep(10 * time.Hour)
		if n := len(rec.Published("user_activity_readers")); n != said {
			t.Errorf("%d more after the end", n-said)
		}
	})
}

// What is on the topic is read by other tools too: it is as it is for good.
func TestAnAnnouncementIsAnEventInJSON(t *testing.T) {
	rec := bustest.NewRecorder()
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.FixedZone("", 3600))
	announcing(t, func(ctx context.Context) error {
		return Run(ctx, rec, "user_activity", trio()[:1], Config{Release: "v1.2.3", Now: func() time.Time { return now }})
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	said, err := rec.WaitPublished(ctx, "user_activity_readers", 1)
	if err != nil {
		t.Fatal(err)
	}
	e := said[0]
	if e.Type != "tidings.bus.v1.Announcement" || e.Key != "reads/audit/audit.1" || e.DataType != "application/json" ||
		e.Version != 0 || !e.Time.Equal(now) || e.ID == "" || len(e.Ext) > 0 {
		t.Errorf("%+v", e)
	}
	var got map[string]any
	if err := json.Unmarshal(e.Data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"role": "reads", "name": "audit", "group": "audit.1", "topic": "user_activity",
		"types": []any{"users.v1.A", "users.v1.B", "*"}, "release": "v1.2.3", "time": "2026-11-23T07:00:00Z", "every_seconds": 3600.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestABrokerThatIsAwayIsWaitedForAndToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, log := bustest.NewRecorder(), &logbook{}
		rec.SetDown(true)
		announcing(t, func(ctx context.Context) error {
			return Run(ctx, rec, "e", trio(), Config{Logger: log.logger()})
		})
		time.Sleep(30 * time.Second)
		if lines := log.lines(""); len(lines) != 0 {
			t.Errorf("after half a minute: %q", lines)
		}
		time.Sleep(3 * time.Hour)
		if lines := log.lines("level=WARN"); len(lines) != 1 || len(log.lines("deadline")) != 1 {
			t.Errorf("after three hours: %q", log.lines(""))
		}
		rec.SetDown(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := len(rec.Published("e_readers")); n != 3 || len(log.lines("level=INFO")) != 1 {
			t.Errorf("%d announcements once the broker is back; %q", n, log.lines(""))
		}
	})
}

func TestARefusalIsToldOnceAndTriedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, log, tries := bustest.NewRecorder(), &logbook{}, 0
		rec.FailPublish(func(string, bus.Event) error { tries++; return errors.New("you may not write there") })
		announcing(t, func(ctx context.Context) error {
			return Run(ctx, rec, "e", trio(), Config{Logger: log.logger()})
		})
		time.Sleep(24 * time.Hour)
		if lines := log.lines(""); len(lines) != 1 || len(log.lines("level=WARN")) != 1 || len(log.lines("you may not")) != 1 {
			t.Errorf("logged %q", lines)
		}
		rec.FailPublish(nil)
		if tries /= 3; tries < 24*60 || tries > 25*60 {
			t.Errorf("%d tries in a day, want one a minute", tries)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := keys(list(t, rec, "e", 0)); got != allKeys {
			t.Errorf("once it may: %s", got)
		}
	})
}

func TestRunSaysWhatCannotBeAnnounced(t *testing.T) {
	rec := bustest.NewRecorder()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // what is announced after all ends with it
	defer cancel()
	for name, call := range map[string]func() error{
		"no topic":            func() error { return Run(ctx, rec, "", trio(), Config{}) },
		"nothing to say":      func() error { return Run(ctx, rec, "e", nil, Config{}) },
		"an interval of 1ms":  func() error { return Run(ctx, rec, "e", trio(), Config{Every: time.Millisecond}) },
		"an interval of 1.5s": func() error { return Run(ctx, rec, "e", trio(), Config{Every: 1500 * time.Millisecond}) },
		"no name":             func() error { return Run(ctx, rec, "e", []Announcement{{Role: Reads}}, Config{}) },
		"no role":             func() error { return Run(ctx, rec, "e", []Announcement{{Name: "n"}}, Config{}) },
		"a control character": func() error {
			return Run(ctx, rec, "e", []Announcement{{Role: Reads, Name: "n", Types: []string{"\x1b[2J"}}}, Config{})
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s is announced", name)
		}
	}
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), rec, "e", trio(), Config{Logger: slog.New(slog.DiscardHandler)}); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("on a bus that is closed: %v", err)
	}
}
