package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// A loss is shown at its place, whatever the pages, and what comes late makes it smaller.
func TestMissingVersionsAreAHoleUntilTheyCome(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.GapWait = 50 * time.Millisecond
	r := start(t, cfg, servicetest.Over(rec))
	id := servicetest.NewID()
	events := life(t, id, 9)
	missing := func(versions int64) {
		t.Helper()
		r.Until(fmt.Sprint(versions, " missing"), func(s lifecycle.Status) bool { return s.Lag == 0 && s.Missing == versions })
	}
	wantShown := func(want string) {
		t.Helper()
		for _, pageSize := range []int32{0, 1, 2, 3, 4, 5} {
			if got := r.shown(id, pageSize); got != want {
				t.Errorf("by pages of %d: %s, want %s", pageSize, got, want)
			}
		}
	}
	servicetest.Publish(t, rec, events[0], events[1], events[5], events[8]) // versions 1, 2, 6, 9
	missing(5)
	wantShown("1 2 3-5 6 7-8 9")
	servicetest.Publish(t, rec, events[3])
	missing(4)
	wantShown("1 2 3-3 4 5-5 6 7-8 9")
	servicetest.Publish(t, rec, events[2], events[4], events[7], events[6])
	missing(0)
	wantShown("1 2 3 4 5 6 7 8 9")
}

// A group that reads the log from its start knows that a user's first version is 1.
func TestAHistoryThatLacksItsBeginningSaysSo(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.GapWait = 50 * time.Millisecond
	id := servicetest.NewID()
	servicetest.Publish(t, rec, life(t, id, 4)[2:]...)
	r := start(t, cfg, servicetest.Over(rec))
	r.Until("two missing", func(s lifecycle.Status) bool { return s.Missing == 2 && s.Count == 2 })
	if got := r.shown(id, 1); got != "1-2 3 4" {
		t.Errorf("history %s", got)
	}
}

func TestATokenIsGoodForItsUserOnly(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada, alan := servicetest.NewID(), servicetest.NewID()
	servicetest.Publish(t, rec, append(life(t, ada, 3), life(t, alan, 3)...)...)
	r.CaughtUp()
	first, err := r.api.ListUserEvents(r.Context(), &auditv1.ListUserEventsRequest{UserId: ada, PageSize: 1})
	if err != nil || first.GetNextPageToken() == "" || first.GetTotalSize() != 3 {
		t.Fatalf("%v, %v", first, err)
	}
	_, err = r.api.ListUserEvents(r.Context(), &auditv1.ListUserEventsRequest{UserId: alan, PageToken: first.GetNextPageToken()})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "page_token") {
		t.Errorf("another user's token: %v", err)
	}
	for _, odd := range []string{"", "{" + ada + "}", "urn:uuid:" + ada, strings.ReplaceAll(ada, "-", "")} {
		_, err = r.api.ListUserEvents(r.Context(), &auditv1.ListUserEventsRequest{UserId: odd})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("user_id %q: %v", odd, err)
		}
	}
	if got := r.shown(strings.ToUpper(ada), 0); got != "1 2 3" {
		t.Errorf("the same id in capitals: %s", got)
	}
}

// A page goes on behind its last entry, so what is written meanwhile is at the end, and nothing comes twice.
func TestPagingGoesToTheEndWhileEventsAreWritten(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	id := servicetest.NewID()
	const there = 300
	all := life(t, id, 3*there)
	servicetest.Publish(t, rec, all[:there]...)
	r.CaughtUp()
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := there; i < len(all) && ctx.Err() == nil; i++ {
			if rec.Publish(ctx, servicetest.Topic, all[i]) != nil {
				return
			}
		}
	})
	entries, _ := r.history(id, 7)
	cancel()
	writer.Wait()
	if len(entries) < there {
		t.Errorf("%d entries came, and %d were there at first", len(entries), there)
	}
	for i, e := range entries {
		if got := e.GetEvent().GetVersion(); got != uint64(i)+1 {
			t.Fatalf("entry %d is version %d", i, got)
		}
	}
}

// What no handler could make anything of must not hide what comes after.
func TestRecordsThatAreNoEventsAreParkedAndBrokenDataIsKept(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	id := servicetest.NewID()
	events := life(t, id, 3)
	events[1].Data = []byte("\xff\xff no message")
	rec.PutRaw(servicetest.Topic, id, []byte("this is no event"))
	servicetest.Publish(t, rec, events...)
	if s := r.CaughtUp(); s.Dead != 1 || s.Count != 3 {
		t.Errorf("status %+v, want one dead record and three events", s)
	}
	all, _ := r.history(id, 0)
	if len(all) != 3 || string(all[1].GetEvent().GetData()) != string(events[1].Data) || all[1].GetEvent().GetJson() != "" {
		t.Errorf("history %v", all)
	}
}

// Events without a version are entries of their own; those of another source are none, whatever they say.
func TestOnlyTheOwnersEventsStandInTheHistory(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	id := servicetest.NewID()
	other, err := bus.NewEvent("/billing", id, 1, &eventsv1.UserDeleted{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	loose, err := bus.NewEvent("/users", id, 0, &eventsv1.UserDeleted{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	loose.Ext = map[string]string{"traceparent": "00-ab-cd-01"}
	servicetest.Publish(t, rec, append(life(t, id, 2), other, loose)...)
	r.CaughtUp()
	servicetest.Publish(t, rec, other, loose) // again
	r.CaughtUp()
	var got []string
	entries, _ := r.history(id, 2)
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.GetEvent().GetSource(), " ", e.GetEvent().GetVersion()))
	}
	if want := "/users 0, /users 1, /users 2"; strings.Join(got, ", ") != want {
		t.Errorf("history %q, want %q", got, want)
	}
}

func TestHealthTurnsForTheBusOnly(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	r.CaughtUp()
	rec.SetDown(true)
	r.Until("no bus", func(s lifecycle.Status) bool { return !s.Bus })
	for name, want := range map[string]bool{"": true, "audit.v1.AuditService": true, "bus": false} {
		if got := r.Serving(name); got != want {
			t.Errorf("health %q serving: %v, want %v", name, got, want)
		}
	}
}
