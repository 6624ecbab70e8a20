package service_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/service"
)

func TestWhatIsWrittenIsReadAndTold(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	u := r.create("ada@example.org", "Ada Byron")
	if a := r.do("PATCH", path(u), `{"name":"Ada Lovelace"}`); a.etag != `"2"` {
		t.Fatalf("PATCH answers %+v", a)
	}
	got, err := r.get(u.GetId(), 2)
	if err != nil || got.GetName() != "Ada Lovelace" || got.GetVersion() != 2 || got.GetEmail() != "ada@example.org" {
		t.Errorf("it reads as %v, %v", got, err)
	}
	if a := r.do("DELETE", path(u), ""); a.status != http.StatusNoContent || a.etag != `"3"` {
		t.Fatalf("DELETE answers %+v", a)
	}
	types := []string{"users.events.v1.UserCreated", "users.events.v1.UserUpdated", "users.events.v1.UserDeleted"}
	for i, e := range published(t, rec, 3) {
		if e.Type != types[i] || e.Source != "/users" || e.Key != u.GetId() || e.Version != uint64(i+1) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	if m := bustest.Messages[*eventsv1.UserUpdated](rec, servicetest.Topic); len(m) != 1 || fmt.Sprint(m[0].GetUpdateMask().GetPaths()) != "[name]" {
		t.Errorf("UserUpdated is %v", m)
	}
}

func TestAWriteIsAnsweredAtOnceWhileTheBrokerIsAway(t *testing.T) {
	rec := bustest.NewRecorder()
	rec.SetDown(true)
	r := start(t, newConfig(t), servicetest.Over(rec))
	began := time.Now()
	for i := range 20 {
		r.create(fmt.Sprintf("%d@example.org", i), "A")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("20 writes took %v", took)
	}
	r.Until("20 unsent events", func(s lifecycle.Status) bool { return s.Count == 20 && s.Outbox.Unsent == 20 })
	rec.SetDown(false)
	published(t, rec, 20)
	r.Until("an empty outbox", func(s lifecycle.Status) bool { return s.Outbox.Unsent == 0 })
}

func TestAfterARestartEverythingIsAsItWas(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	rec.SetDown(true)
	r := start(t, cfg, servicetest.Over(rec))
	ada, grace := r.create("ada@example.org", "Ada"), r.create("grace@example.org", "Grace")
	r.do("DELETE", path(grace), "")
	r.Stop()

	r = start(t, cfg, servicetest.Over(rec)) // the broker is still away
	if a := r.do("POST", "/v1/users", `{"email":"Ada@Example.org","name":"X"}`); a.status != http.StatusConflict || a.location != path(ada) {
		t.Errorf("the address is answered %+v", a)
	}
	if a := r.do("DELETE", path(grace), ""); a.status != http.StatusNoContent || a.etag != `"2"` {
		t.Errorf("the tombstone is answered %+v", a)
	}
	if a := r.do("PATCH", path(ada), `{"name":"Ada Lovelace"}`, "If-Match", `"1"`); a.etag != `"2"` {
		t.Errorf("PATCH answers %+v", a)
	}
	rec.SetDown(false)
	checkHistories(t, r, published(t, rec, 4))
	r.Stop()

	r = start(t, cfg, servicetest.Over(rec))
	r.create("grace@example.org", "Grace Hopper")
	if n := len(published(t, rec, 5)); n != 5 {
		t.Errorf("%d events after another start, want 5: nothing is told twice", n)
	}
}

// checkHistories checks that each key's versions are 1 to n, and that gRPC answers with the last one.
func checkHistories(t *testing.T, r *running, events []bus.Event) {
	t.Helper()
	last := make(map[string]bus.Event)
	for _, e := range events {
		if want := last[e.Key].Version + 1; e.Version != want {
			t.Errorf("user %s: version %d comes where %d is next", e.Key, e.Version, want)
		}
		last[e.Key] = e
	}
	var versions uint64
	for id, e := range last {
		versions += e.Version
		u, err := r.get(id, 0)
		if gone := e.Type == "users.events.v1.UserDeleted"; gone != (err != nil) || !gone && u.GetVersion() != e.Version {
			t.Errorf("user %s is %v, %v; the last event is %s %d", id, u, err, e.Type, e.Version)
		}
	}
	r.Until("the events' keys and versions", func(s lifecycle.Status) bool {
		return s.Keys == int64(len(last)) && s.Versions == versions
	})
}

func TestManyWritersOfOneUserGetVersionsWithoutGaps(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	u := r.create("ada@example.org", "Ada")
	var changed, lost atomic.Int64
	together(16, func(i int) {
		for n := range 20 {
			var header []string
			if i%2 == 0 { // half of them look first, and change what they have seen
				seen, err := r.get(u.GetId(), 0)
				if err != nil {
					t.Error(err)
				}
				header = []string{"If-Match", fmt.Sprintf(`"%d"`, seen.GetVersion())}
			}
			switch a := r.do("PATCH", path(u), fmt.Sprintf(`{"name":"%d of %d"}`, n, i), header...); a.status {
			case http.StatusOK:
				changed.Add(1)
			case http.StatusPreconditionFailed:
				lost.Add(1)
			default:
				t.Errorf("PATCH answers %+v", a)
			}
		}
	})
	if changed.Load()+lost.Load() != 320 || changed.Load() < 160 {
		t.Errorf("%d changed, %d lost", changed.Load(), lost.Load())
	}
	checkHistories(t, r, published(t, rec, 1+int(changed.Load())))
}

func TestOf64WhoWantOneAddressOneIsAnswered201AndTheOthersAreToldWhere(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	answers := make([]answer, 64)
	together(len(answers), func(i int) {
		answers[i] = r.do("POST", "/v1/users", fmt.Sprintf(`{"email":%q,"name":"Ada"}`, []string{"ada@x.org", "ADA@X.ORG"}[i%2]))
	})
	winner := ""
	for _, a := range answers {
		if a.status == http.StatusCreated {
			if winner != "" {
				t.Error("two were created")
			}
			winner = a.location
		}
	}
	for _, a := range answers {
		if a.location != winner || a.status != http.StatusCreated && a.status != http.StatusConflict {
			t.Errorf("answered %+v, and the address is held by %s", a, winner)
		}
	}
	checkHistories(t, r, published(t, rec, 1))
}

func TestWritersOfAllKindsLeaveHistoriesWithoutGaps(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	var written atomic.Int64
	together(32, func(i int) {
		u := r.create(fmt.Sprintf("%d@example.org", i), "A")
		written.Add(1)
		for n := range 5 {
			if a := r.do("PATCH", path(u), fmt.Sprintf(`{"name":"%d"}`, n/2)); a.etag != fmt.Sprintf(`"%d"`, n/2+2) {
				t.Errorf("PATCH %d answers %+v", n, a)
			}
		}
		written.Add(3)
		if i%3 == 0 {
			r.do("DELETE", path(u), "")
			written.Add(1)
		}
	})
	checkHistories(t, r, published(t, rec, int(written.Load())))
}

func TestLosingTheBrokerTurnsOnlyTheHealthOfTheBus(t *testing.T) {
	servicetest.SQLiteOnly(t, "it is about the bus, and takes its time")
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	r.health(map[string]bool{"": true, "users.v1.UserService": true, "bus": true})
	rec.SetDown(true)
	r.health(map[string]bool{"": true, "users.v1.UserService": true, "bus": false})
	r.create("ada@example.org", "Ada")
	rec.SetDown(false)
	r.health(map[string]bool{"": true, "users.v1.UserService": true, "bus": true})
}

func TestStatusCountsUsersAndTombstones(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada, grace := r.create("ada@example.org", "Ada"), r.create("grace@example.org", "Grace")
	r.do("PATCH", path(ada), `{"name":"Ada Lovelace"}`)
	r.do("DELETE", path(grace), "")
	r.Until("one user, two keys, four versions, nothing unsent", func(s lifecycle.Status) bool {
		return s.State == lifecycle.Serving && s.Count == 1 && s.Keys == 2 && s.Versions == 4 && s.Lag == 0 && s.Outbox.Unsent == 0 && s.Door == r.Info.Door
	})
	r.Stop()
	r.Until("a stopped service", func(s lifecycle.Status) bool { return s.State == lifecycle.Stopped })
}

func TestTheDoorsAddressInUseIsAnErrorThatNamesTheFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := newConfig(t)
	cfg.Door = l.Addr().String()
	svc := service.New(cfg, lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: servicetest.Over(bustest.NewRecorder())})
	err = svc.Run(t.Context(), func(lifecycle.Info) { t.Error("it is ready") })
	want := "--door " + cfg.Door + " is in use; stop the other process or pass --door"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it ends with %v, want %s", err, want)
	}
}

func TestEventsReachAKafkaTopic(t *testing.T) {
	cfg := newConfig(t)
	b := servicetest.OnKafka(t, &cfg.Common)
	r := start(t, cfg, backends.Open)
	const users = 50
	together(users, func(i int) {
		u := r.create(fmt.Sprintf("%d@example.org", i), "A")
		r.do("PATCH", path(u), `{"name":"B"}`)
		r.do("DELETE", path(u), "")
	})
	r.Until("an empty outbox", func(s lifecycle.Status) bool { return s.Outbox.Unsent == 0 })
	checkHistories(t, r, consume(t, b, cfg.Topic, 3*users))
}

// consume reads n events of a topic as a service would.
func consume(t *testing.T, b bus.Bus, topic string, n int) []bus.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var events []bus.Event
	err := b.Subscribe(ctx, bus.Subscription{Group: "test", Topics: []string{topic}}, func(_ context.Context, d bus.Delivery) error {
		if events = append(events, d.Events...); len(events) >= n {
			cancel()
		}
		return nil
	})
	if err != nil || len(events) != n {
		t.Fatalf("%d of %d events came: %v", len(events), n, err)
	}
	return events
}

func TestTheProgramRunsWithNoBrokerThere(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log := &lines{wrote: make(chan string, 1000)}
	ended := make(chan error, 1)
	go func() {
		ended <- service.Main(ctx, program.IO{Name: "users", Stdout: log, Stderr: log, Args: []string{
			"--bus", "kafka://127.0.0.1:1", "--db", filepath.Join(t.TempDir(), "users.db"), "--listen", "127.0.0.1:0", "--door", "127.0.0.1:0", "--log-format", "json", "--events", "v2,v1",
		}})
	}()
	door := log.door(t, `"events":"v2,v1"`)
	resp, err := http.Post("http://"+door+"/v1/users", "application/json", strings.NewReader(`{"email":"ada@example.org","name":"Ada"}`))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusCreated {
		t.Errorf("POST answers %s", resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
	began := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

func TestFlagsThatAreWrongAreUsageErrors(t *testing.T) {
	for _, args := range [][]string{{"--outbox-keep", "0s"}, {"--outbox-keep", "-1h"}, {"--outbox-keep", "soon"}, {"--dor", "x"}, {"--bus", "kafka"}} {
		err := service.Main(t.Context(), program.IO{Name: "users", Args: args, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
		coded, ok := err.(interface{ ExitCode() int })
		if !ok || coded.ExitCode() != 2 || !strings.Contains(err.Error(), args[0]) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
