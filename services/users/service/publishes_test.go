package service_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/announce"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/service"
)

// What is announced is what is told of a user that was created, changed and deleted: no type less, and none more.
func TestEveryTypeThatIsPublishedIsAnnouncedAndNoOther(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.Announce = true
	r := start(t, cfg, servicetest.Over(rec))
	u := r.create("ada@example.org", "Ada Byron")
	if a := r.do("PATCH", path(u), `{"name":"Ada Lovelace"}`); a.status != http.StatusOK {
		t.Fatalf("PATCH answers %+v", a)
	}
	if a := r.do("DELETE", path(u), ""); a.status != http.StatusNoContent {
		t.Fatalf("DELETE answers %+v", a)
	}
	var told []string
	for _, e := range published(t, rec, 3) {
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
	if declared := slices.Sorted(slices.Values(service.Publishes())); !slices.Equal(declared, told) {
		t.Errorf("declared are %v; told were %v", declared, told)
	}
}
