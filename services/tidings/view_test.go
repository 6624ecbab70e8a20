package main

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// screen is what the view writes to; a test reads it meanwhile.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// take returns what was written since the last take.
func (s *screen) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// testView is a view of a platform of two that serve, which the test may change.
func testView() (*view, *screen, *control.Report) {
	out := &screen{}
	r := &control.Report{
		Bus:  control.Bus{URL: "kafka://127.0.0.1:19092", Embedded: true, Topic: "t", Guarantees: "durable", KeepsLog: true},
		Data: "data", Services: []lifecycle.Status{
			{Service: "users", State: lifecycle.Serving, Info: lifecycle.Info{Address: "h:1", Door: "127.0.0.1:8480"}, Bus: true, Outbox: &lifecycle.Outbox{}},
			{Service: "mailer", State: lifecycle.Serving, Info: lifecycle.Info{Address: "h:2"}, Bus: true, KeepsLog: true},
		},
	}
	v := newView(out)
	v.report = func(context.Context) control.Report { return *r }
	v.clock = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	return v, out, r
}

func TestTheFirstPage(t *testing.T) {
	v, out, r := testView()
	r.Services = append(r.Services, lifecycle.Status{Service: "audit", State: lifecycle.Failed, Error: "it is broken"})
	v.welcome(t.Context(), "127.0.0.1:8479", "data/log")
	want := `bus        a broker inside this process at kafka://127.0.0.1:19092 (for first runs, tests and laptops)
           durable
users      h:1, serving, 0 users
mailer     h:2, serving, 0 messages, lag 0
audit      failed: it is broken
door       http://127.0.0.1:8480/v1/users
data       data, log in data/log
join       another process passes --bus kafka://127.0.0.1:19092 --topic t
next       in a second terminal:
           go run ./services/tidings import --sample 10000
           go run ./services/tidings status
           Ctrl-C here stops; the data stays
`
	if diff := cmp.Diff(want, out.take()); diff != "" {
		t.Error(diff)
	}
}

func TestTheFirstPageSaysWhatABusWithoutALogDoesWithout(t *testing.T) {
	v, out, r := testView()
	r.Bus = control.Bus{URL: "redis://127.0.0.1:16379/0", Embedded: true, Guarantees: "ordered by key", Without: "durable, replayable, groups"}
	r.Services[0].Outbox.Unheard, r.Services[1].KeepsLog, r.Services[1].Lag, r.Services[1].Missed = 1200, false, -1, 34
	v.welcome(t.Context(), "127.0.0.1:8479", "data/log")
	want := `bus        a PubSub server inside this process at redis://127.0.0.1:16379/0 (for first runs, tests and laptops)
           ordered by key; not durable, replayable, groups
           nothing is kept for a service that is down or new: what it misses is counted, and stays missed
users      h:1, serving, 0 users, 1,200 sent to nobody
mailer     h:2, serving, 0 messages, missed 34
`
	if got := out.take(); !strings.HasPrefix(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	r.Bus.Embedded = false
	if v.welcomeBus(*r); !strings.HasPrefix(out.take(), "bus        the PubSub server at redis://127.0.0.1:16379/0\n") {
		t.Error("a server of its own is not inside this process")
	}
}

func TestGuaranteesAreAsConfiguredWhileTheBusIsAway(t *testing.T) {
	v, out, r := testView()
	for i := range r.Services {
		r.Services[i].Bus = false
	}
	v.welcomeBus(*r)
	if got := out.take(); !strings.Contains(got, "durable (as configured: ") {
		t.Errorf("printed %s", got)
	}
}

// On a bus without a log the owner has nobody to ask, and says that it has a bus until it has tried in vain.
func TestWithoutALogTheOwnerAloneIsNoProofOfTheBus(t *testing.T) {
	v, out, r := testView()
	r.Bus = control.Bus{URL: "redis://127.0.0.1:9", Guarantees: "ordered by key"}
	mailer := &r.Services[1]
	mailer.KeepsLog, mailer.Bus, mailer.Lag, mailer.BusError = false, false, -1, "redis at 127.0.0.1:9: connection refused"
	v.welcomeBus(*r)
	if got := out.take(); !strings.Contains(got, "ordered by key (as configured: the bus does not answer yet)") {
		t.Errorf("printed %s", got)
	}
	if got, want := v.line(*mailer), "serving, 0 messages, no bus, missed 0: redis at 127.0.0.1:9: connection refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	mailer.Bus = true
	if v.welcomeBus(*r); strings.Contains(out.take(), "as configured") {
		t.Error("a reader that listens is a proof")
	}
}

func TestWhatWasMissedIsCountedByTheOwnersNumbers(t *testing.T) {
	v, _, r := testView()
	r.Services[0].Streams = []lifecycle.Stream{{Topic: "t", Source: "/users", Log: "l", Seq: 9}}
	mailer := &r.Services[1]
	mailer.KeepsLog, mailer.Missed = false, 7
	mailer.Streams = []lifecycle.Stream{
		{Topic: "t", Source: "/users", Log: "l", First: 2, Seq: 9, Missed: 3},
		{Topic: "t", Source: "/users", Log: "other", First: 1, Seq: 200, Missed: 4},
	}
	v.tellNumbers(*r)
	if got, want := v.line(*mailer), "serving, 0 messages, missed 3 since it came at number 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLines(t *testing.T) {
	v := newView(&screen{})
	serving := func(name string, change func(*lifecycle.Status)) lifecycle.Status {
		s := lifecycle.Status{Service: name, State: lifecycle.Serving, Bus: true, KeepsLog: true, Count: 10000}
		change(&s)
		return s
	}
	for want, s := range map[string]lifecycle.Status{
		"serving, 1 user":          serving("users", func(s *lifecycle.Status) { s.Count = 1 }),
		"serving, 1 person, lag 0": serving("directory", func(s *lifecycle.Status) { s.Count = 1 }),
		"serving, 10,000 users, no bus, 3 events to send: NOPERM": serving("users", func(s *lifecycle.Status) {
			s.Bus, s.BusError, s.Outbox = false, "NOPERM", &lifecycle.Outbox{Unsent: 3}
		}),
		"serving, 10,000 users":                       serving("users", func(*lifecycle.Status) {}),
		"serving, 10,000 users, 1,200 events to send": serving("users", func(s *lifecycle.Status) { s.Outbox = &lifecycle.Outbox{Unsent: 1200} }),
		"serving, 10,000 people, lag 1,500":           serving("directory", func(s *lifecycle.Status) { s.Lag = 1500 }),
		"serving, 10,000 people, lag unknown":         serving("directory", func(s *lifecycle.Status) { s.Lag = -1 }),
		"serving, 10,000 events, no bus":              serving("audit", func(s *lifecycle.Status) { s.Bus, s.Lag = false, -1 }),
		"serving, 10,000 people, missed 1,500":        serving("directory", func(s *lifecycle.Status) { s.KeepsLog, s.Lag, s.Missed = false, -1, 1500 }),
		"serving, 10,000 people, missed 0 since it came at number 1,206": serving("directory", func(s *lifecycle.Status) {
			s.KeepsLog, s.Streams = false, []lifecycle.Stream{{First: 1206}}
		}),
		"serving, 10,000 people, no bus, missed 2":                  serving("directory", func(s *lifecycle.Status) { s.KeepsLog, s.Lag, s.Bus, s.Missed = false, -1, false, 2 }),
		"serving, 10,000 users, 3 events to send, 2 sent to nobody": serving("users", func(s *lifecycle.Status) { s.Outbox = &lifecycle.Outbox{Unsent: 3, Unheard: 2} }),
		"serving, 10,000 people, lag 0: it can't count":             serving("directory", func(s *lifecycle.Status) { s.Error = "it can't count" }),
		"serving, 10,000 messages, lag 0, 19,700 mails to send":     serving("mailer", func(s *lifecycle.Status) { s.Queued = 19700 }),
		"stopped":              {Service: "audit", State: lifecycle.Stopped, Lag: -1},
		"failed: it is broken": {Service: "audit", State: lifecycle.Failed, Lag: -1, Error: "it is broken"},
	} {
		if got := v.line(s); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestNumbersAreToldWhenTheyHaveComeToRest(t *testing.T) {
	v, out, r := testView()
	v.welcome(t.Context(), "127.0.0.1:8479", "log")
	out.take()
	mailer := &r.Services[1]
	for i, step := range []struct {
		change func()
		want   string
	}{
		{func() {}, ""},
		{func() { mailer.Count, mailer.Queued = 10, 30 }, ""}, // on the move
		{func() { mailer.Count, mailer.Queued = 40, 0 }, ""},
		{func() {}, "03:04:05   mailer     serving, 40 messages, lag 0\n"},
		{func() {}, ""},
		{func() { mailer.Bus, mailer.Lag = false, -1 }, "03:04:05   mailer     serving, 40 messages, no bus\n"}, // at once
		{func() { mailer.State = lifecycle.Stopped }, ""},                                                       // is news, not a number
	} {
		step.change()
		v.tellNumbers(*r)
		if diff := cmp.Diff(step.want, out.take()); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
}

// News come while a look takes for ever, as one does whose broker is away.
func TestStatesAreToldAtOnce(t *testing.T) {
	v, out, r := testView()
	v.news.add(lifecycle.Status{Service: "mailer", State: lifecycle.Failed}) // before the first page, which knows better
	v.welcome(t.Context(), "127.0.0.1:8479", "log")
	out.take()
	_ = r
	looking := make(chan struct{}, 1)
	v.report = func(ctx context.Context) control.Report {
		looking <- struct{}{}
		<-ctx.Done()
		return control.Report{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.follow(ctx) }()
	<-looking
	mailer := func(s lifecycle.State, err string) {
		v.news.add(lifecycle.Status{Service: "mailer", State: s, Lag: -1, Error: err})
	}
	for _, s := range []lifecycle.State{
		lifecycle.Serving /* as the first page said */, lifecycle.Stopping, lifecycle.Stopped, lifecycle.Starting, lifecycle.Serving,
	} {
		mailer(s, "")
	}
	for range 2 { // a second failure for the same reason is one too
		mailer(lifecycle.Starting, "")
		mailer(lifecycle.Failed, "it is broken")
	}
	want := "03:04:05   mailer     stopped\n03:04:05   mailer     serving\n" +
		strings.Repeat("03:04:05   mailer     failed: it is broken\n", 2)
	got := ""
	for deadline := time.Now().Add(10 * time.Second); len(got) < len(want) && time.Now().Before(deadline); {
		got += out.take()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got+out.take()); diff != "" {
		t.Error(diff)
	}
}

func TestAStateIsFollowedByItsNumbers(t *testing.T) {
	v, out, r := testView()
	v.welcome(t.Context(), "127.0.0.1:8479", "log")
	for _, s := range []lifecycle.State{lifecycle.Stopped, lifecycle.Serving} {
		v.tellState(lifecycle.Status{Service: "mailer", State: s, Lag: -1})
	}
	out.take()
	r.Services[1].Count = 7
	v.tellNumbers(*r)
	if got := out.take(); !regexp.MustCompile(`mailer +serving, 7 messages, lag 0\n$`).MatchString(got) {
		t.Errorf("printed %q", got)
	}
}

func TestPauses(t *testing.T) {
	for look, want := range map[time.Duration]time.Duration{
		0: lookEvery, time.Millisecond: lookEvery, 50 * time.Millisecond: time.Second, time.Second: 2 * time.Second,
	} {
		if got := pause(look); got != want {
			t.Errorf("after a look of %v: %v, want %v", look, got, want)
		}
	}
}
