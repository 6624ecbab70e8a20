package service_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// Replicas take writes side by side, and one relay sends: each key's events come in order, and none comes twice.
func TestReplicasOfTheOwnerMakeOneHistoryAndAnswerOneAnothersWrites(t *testing.T) {
	servicetest.PostgresOnly(t, "a SQLite file has one process")
	const users, rounds = 8, 6
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	both := [2]*running{start(t, cfg, servicetest.Over(rec)), start(t, cfg, servicetest.Over(rec))}
	together(users, func(i int) {
		u := both[i%2].create(fmt.Sprintf("%d@example.org", i), "A")
		for n := range rounds {
			writer, reader := both[n%2], both[(n+1)%2]
			want := uint64(n + 2)
			header := fmt.Sprintf(`"%d"`, want-1)
			if a := writer.do("PATCH", path(u), fmt.Sprintf(`{"name":"%d"}`, n), "If-Match", header); a.status != http.StatusOK {
				t.Errorf("PATCH answers %+v", a)
			}
			if got, err := reader.get(u.GetId(), want); err != nil || got.GetVersion() != want {
				t.Errorf("the other replica has %v (%v), want version %d", got, err, want)
			}
			if a := reader.do("POST", "/v1/users", fmt.Sprintf(`{"email":"%d@EXAMPLE.org","name":"B"}`, i)); a.status != http.StatusConflict || a.location != path(u) {
				t.Errorf("the address is given again: %+v", a)
			}
		}
	})
	const events = users * (rounds + 1)
	checkHistories(t, both[0], published(t, rec, events))
	both[0].Stop() // which may have been the one that sent
	both[1].create("last@example.org", "Last")
	if n := len(published(t, rec, events+1)); n != events+1 {
		t.Errorf("%d events, want %d", n, events+1)
	}
}
