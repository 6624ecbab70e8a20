package service_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/announce"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/service"
)

// What is announced is what is told of a user that was created, changed and deleted: no type less, and none more. All that
// can be told is declared.
func TestEveryTypeThatIsPublishedIsAnnouncedAndNoOther(t *testing.T) {
	declared := make(map[string]bool)
	for _, events := range []service.Events{"v1", "v2,v1", "v2"} {
		told := toldBy(t, events)
		for _, typ := range told {
			declared[typ] = true
		}
	}
	if all := slices.Sorted(maps.Keys(declared)); !slices.Equal(slices.Sorted(slices.Values(service.Publishes())), all) {
		t.Errorf("declared are %v; told were %v", service.Publishes(), all)
	}
}

// toldBy are the types by which a user's changes are told, which have to be those that are announced.
func toldBy(t *testing.T, events service.Events) (told []string) {
	t.Helper()
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.Announce, cfg.Events = true, events
	r := start(t, cfg, servicetest.Over(rec))
	defer r.Stop()
	u := r.create("ada@example.org", "Ada Byron")
	if a := r.do("PATCH", path(u), `{"name":"Ada Lovelace"}`); a.status != http.StatusOK {
		t.Fatalf("PATCH answers %+v", a)
	}
	if a := r.do("DELETE", path(u), ""); a.status != http.StatusNoContent {
		t.Fatalf("DELETE answers %+v", a)
	}
	for _, e := range published(t, rec, 3*len(strings.Split(string(events), ","))) {
		told = append(told, e.Type)
	}
	slices.Sort(told)
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
	defer cancel()
	if _, err := rec.WaitPublished(ctx, announce.Topic(servicetest.Topic), 1); err != nil {
		t.Fatal(err)
	}
	all, err := announce.List(ctx, rec, servicetest.Topic, time.Second)
	if err != nil || len(all) != 1 || all[0].Role != announce.Publishes || all[0].Name != "users" || !slices.Equal(all[0].Types, told) {
		t.Errorf("%+v, %v; told were %v", all, err, told)
	}
	return told
}
