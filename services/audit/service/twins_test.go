package service_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/audit/service"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

const (
	v1 = servicetest.V1
	v2 = servicetest.V2
)

// extensions is what is stored of a user's events beside the rest, in order of versions.
func extensions(t *testing.T, cfg service.Config, id string) (all []string) {
	t.Helper()
	db, err := database.OpenBeside(t.Context(), cfg.DB, database.ForService("audit"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT COALESCE(extensions, '') FROM events WHERE user_id = $1 ORDER BY version`, id)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

func TestTwinsAreOneEntryTheBest(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	r := start(t, cfg, servicetest.Over(rec))
	u := servicetest.NewUser("ilona@example.com", "Nagy Ilona")
	u.Parts = &eventsv2.PersonName{Given: "Ilona", Family: "Nagy", Order: eventsv2.NameOrder_NAME_ORDER_FAMILY_FIRST}
	created, updated, deleted := u.CreatedAs(t, v2, v1), u.UpdatedAs(t, v2, v1), u.DeletedAs(t, v2, v1)
	servicetest.Publish(t, rec, created...)
	servicetest.Publish(t, rec, deleted...) // both wait for version 2
	r.Until("version 3 waits", func(s lifecycle.Status) bool { return s.Lag == 0 && s.Waiting == 1 })
	servicetest.Publish(t, rec, slices.Concat(updated, created, deleted)...)
	if s := r.CaughtUp(); s.Count != 3 || s.Versions != 3 || s.Missing+s.Dead+s.Ignored != 0 {
		t.Errorf("status %+v, want three events", s)
	}
	if got := r.shown(u.ID, 0); got != "1 2 3" {
		t.Errorf("history %s", got)
	}
	all, _ := r.history(u.ID, 0)
	for i, e := range all {
		want := [...][]byte{created[0].Data, updated[0].Data, deleted[0].Data}[i]
		if got := e.GetEvent(); !strings.HasPrefix(got.GetType(), "users.events.v2.") || !bytes.Equal(got.GetData(), want) {
			t.Errorf("entry %d is %v, want v2's", i, got)
		}
	}
	var m eventsv2.UserUpdated
	if err := protojson.Unmarshal([]byte(all[1].GetEvent().GetJson()), &m); err != nil || !proto.Equal(m.GetUser().GetName(), u.Parts) {
		t.Errorf("JSON %s (%v), want the parts of the name", all[1].GetEvent().GetJson(), err)
	}
	for i, got := range extensions(t, cfg, u.ID) {
		kind := [...]string{"UserCreated", "UserUpdated", "UserDeleted"}[i]
		if want := fmt.Sprintf(`{"alternatives":"users.events.v2.%[1]s,users.events.v1.%[1]s"}`, kind); got != want {
			t.Errorf("version %d: extensions %s, want %s", i+1, got, want)
		}
	}
}

// What a later release tells is kept to the byte, in either version, and shown as far as it is known.
func TestEventsOfALaterReleaseAreKeptToTheByte(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	u := servicetest.NewUser("ada@example.com", "Ada Lovelace")
	events := slices.Concat(u.CreatedAs(t, v1), u.UpdatedAs(t, v2), u.UpdatedAs(t, v2, v1), u.DeletedAs(t, v2))
	for i := range events {
		events[i] = servicetest.Later(t, events[i])
	}
	servicetest.Publish(t, rec, events...)
	if s := r.CaughtUp(); s.Count != 4 || s.Dead+s.Parked != 0 {
		t.Errorf("status %+v, want four events", s)
	}
	events = slices.Delete(events, 3, 4) // the twin that is v1's
	all, _ := r.history(u.ID, 0)
	for i, e := range all {
		got := e.GetEvent()
		if !bytes.Equal(got.GetData(), events[i].Data) || bytes.Count(got.GetData(), []byte(servicetest.LaterText)) == 0 {
			t.Errorf("entry %d is %v, want %+v", i, got, events[i])
		}
		if strings.Contains(got.GetJson(), servicetest.LaterText) || got.GetJson() == "" {
			t.Errorf("entry %d has the JSON %q", i, got.GetJson())
		}
	}
	if json := all[1].GetEvent().GetJson(); !strings.Contains(strings.ReplaceAll(json, " ", ""), `"order":1000`) {
		t.Errorf("JSON %s, want the order's number", json)
	}
}
