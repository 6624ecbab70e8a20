package service_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/audit/service"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// running is the audit over loopback.
type running struct {
	*servicetest.Running
	t   testing.TB
	api auditv1.AuditServiceClient
}

// start runs the audit until Stop is called or the test ends.
func start(t testing.TB, cfg service.Config, open lifecycle.OpenBus) *running {
	t.Helper()
	r := servicetest.Start(t, open, func(env lifecycle.Env) *lifecycle.Runner { return service.New(cfg, env) })
	return &running{Running: r, t: t, api: auditv1.NewAuditServiceClient(r.Conn)}
}

// newConfig is for a service on a free port, with a database of its own.
func newConfig(t testing.TB) service.Config {
	t.Helper()
	return service.Config{Common: servicetest.Common(t, "audit")}
}

// history reads all of a user's entries, by pages of pageSize.
func (r *running) history(id string, pageSize int32) (all []*auditv1.Entry, total int32) {
	r.t.Helper()
	req := &auditv1.ListUserEventsRequest{UserId: id, PageSize: pageSize}
	for {
		resp, err := r.api.ListUserEvents(r.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, resp.GetEntries()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return all, resp.GetTotalSize()
		}
	}
}

// shown is the history in short: "1 2 4-6 7", with a hole as a range.
func (r *running) shown(id string, pageSize int32) string {
	r.t.Helper()
	all, total := r.history(id, pageSize)
	if int(total) != len(all) {
		r.t.Errorf("total_size %d, and %d entries came", total, len(all))
	}
	var b strings.Builder
	for _, e := range all {
		if h := e.GetHole(); h != nil {
			b.WriteString(string(rune('0'+h.GetFirstVersion())) + "-" + string(rune('0'+h.GetLastVersion())) + " ")
			continue
		}
		b.WriteString(string(rune('0'+e.GetEvent().GetVersion())) + " ")
	}
	return strings.TrimSpace(b.String())
}

// life is all that ever happens to a user: created, updated as often as it takes, deleted at version last.
func life(t *testing.T, id string, last uint64) []bus.Event {
	t.Helper()
	u := &servicetest.User{ID: id, Name: "Ada"}
	events := []bus.Event{u.Created(t)}
	for u.Version+1 < last {
		events = append(events, u.Updated(t, u.Email, u.Name))
	}
	return append(events, u.Deleted(t))
}

func TestEveryEventIsKeptOnceAndInOrder(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada, bob := servicetest.NewID(), servicetest.NewID()
	events := life(t, ada, 5)
	servicetest.Publish(t, rec, events...)
	servicetest.Publish(t, rec, life(t, bob, 2)...)
	servicetest.Publish(t, rec, events...) // again
	if s := r.CaughtUp(); s.Count != 7 || s.Keys != 2 || s.Versions != 7 {
		t.Errorf("status %+v; want 7 events of 2 keys", s)
	}
	for _, pageSize := range []int32{0, 1, 2, 5} {
		if got := r.shown(ada, pageSize); got != "1 2 3 4 5" {
			t.Errorf("by pages of %d: %s", pageSize, got)
		}
	}
	all, _ := r.history(ada, 0)
	for i, e := range all {
		got := e.GetEvent()
		if got.GetType() != events[i].Type || got.GetEventId() != events[i].ID || got.GetSource() != "/users" ||
			!bytes.Equal(got.GetData(), events[i].Data) || !got.GetTime().AsTime().Equal(events[i].Time) {
			t.Errorf("entry %d is %v, want %+v", i, got, events[i])
		}
	}
	var u eventsv1.UserUpdated
	if err := protojson.Unmarshal([]byte(all[1].GetEvent().GetJson()), &u); err != nil || u.GetUser().GetVersion() != 2 {
		t.Errorf("JSON of version 2: %v, %v", all[1].GetEvent().GetJson(), err)
	}
}

func TestTypesAndFieldsNobodyKnowsAreKeptAsTheyCame(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	id := servicetest.NewID()
	events := life(t, id, 3)
	events[0].Data = protowire.AppendTag(events[0].Data, 999, protowire.BytesType)
	events[0].Data = protowire.AppendString(events[0].Data, "from a later release")
	events[1].Type = "users.events.v9.UserPromoted"
	events[2].DataType, events[2].Data = "application/json", []byte(`{"a":1}`)
	servicetest.Publish(t, rec, events...)
	if s := r.CaughtUp(); s.Dead != 0 {
		t.Errorf("status %+v, want nothing dead", s)
	}
	all, _ := r.history(id, 0)
	if len(all) != 3 {
		t.Fatalf("%d entries, want 3", len(all))
	}
	for i, e := range all {
		if !bytes.Equal(e.GetEvent().GetData(), events[i].Data) || e.GetEvent().GetType() != events[i].Type {
			t.Errorf("entry %d is %v, want %+v", i, e, events[i])
		}
	}
	if all[0].GetEvent().GetJson() == "" || all[1].GetEvent().GetJson() != "" || all[2].GetEvent().GetJson() != "" {
		t.Errorf("JSON only of what is known: %v", all)
	}
}

func TestAnEmptiedDatabaseFillsAgain(t *testing.T) {
	rec := bustest.NewRecorder()
	id := servicetest.NewID()
	servicetest.Publish(t, rec, life(t, id, 6)...)
	for range 2 {
		r := start(t, newConfig(t), servicetest.Over(rec))
		r.CaughtUp()
		if got := r.shown(id, 4); got != "1 2 3 4 5 6" {
			t.Errorf("history %s", got)
		}
		r.Stop()
	}
}

func TestALargeHistoryIsCutIntoPagesThatAClientTakes(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	id := servicetest.NewID()
	events := life(t, id, 9)
	for i := range events {
		events[i].Type, events[i].Data = "big.v1.Thing", bytes.Repeat([]byte{byte(i)}, 900_000)
	}
	for _, e := range events {
		servicetest.Publish(t, rec, e)
	}
	r.CaughtUp()
	if got := r.shown(id, 100); got != "1 2 3 4 5 6 7 8 9" {
		t.Errorf("history %s", got)
	}
}

func TestAUserThatNobodyHasHeardOfHasAnEmptyHistory(t *testing.T) {
	r := start(t, newConfig(t), servicetest.Over(bustest.NewRecorder()))
	if all, total := r.history(servicetest.NewID(), 0); len(all) != 0 || total != 0 {
		t.Errorf("entries %v, total %d", all, total)
	}
}

func TestRubbishRequestsAreToldWhatIsWrong(t *testing.T) {
	r := start(t, newConfig(t), servicetest.Over(bustest.NewRecorder()))
	for field, req := range map[string]*auditv1.ListUserEventsRequest{
		"user_id":    {UserId: "x"},
		"page_size":  {UserId: servicetest.NewID(), PageSize: -1},
		"page_token": {UserId: servicetest.NewID(), PageToken: "rubbish"},
	} {
		_, err := r.api.ListUserEvents(r.Context(), req)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want INVALID_ARGUMENT that names it", field, err)
		}
	}
}

func TestItServesReadsWithoutABus(t *testing.T) {
	rec := bustest.NewRecorder()
	rec.SetDown(true)
	r := start(t, newConfig(t), servicetest.Over(rec))
	id := servicetest.NewID()
	if all, _ := r.history(id, 0); len(all) != 0 {
		t.Errorf("entries %v", all)
	}
	rec.SetDown(false)
	servicetest.Publish(t, rec, life(t, id, 2)...)
	r.CaughtUp()
	if got := r.shown(id, 0); got != "1 2" {
		t.Errorf("history %s", got)
	}
}
