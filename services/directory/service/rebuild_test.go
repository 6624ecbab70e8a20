package service_test

import (
	"testing"

	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// By a database that is opened beside the directory, which runs and has read everything.
func TestARebuiltDirectoryKnowsEverybodyAgain(t *testing.T) {
	rec := bustest.NewRecorder()
	cfg := newConfig(t)
	r := start(t, cfg, servicetest.Over(rec))
	servicetest.Publish(t, rec, crowd(t, 100)...)
	gone := servicetest.NewUser("gone@example.org", "Gone")
	servicetest.Publish(t, rec, gone.Created(t), gone.Deleted(t))
	r.at(102)
	db, err := database.OpenBeside(t.Context(), cfg.DB, database.ForService("directory"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `UPDATE people SET name = 'Wrong', terms = ''`); err != nil {
		t.Fatal(err)
	}
	if err := service.Rebuild(t.Context(), db.DB); err != nil {
		t.Fatal(err)
	}
	if s := r.at(102); s.Count != 100 || s.Missing != 0 {
		t.Errorf("status %+v", s)
	}
	if names, total := r.names("crowd", 50); len(names) != 100 || total != 100 {
		t.Errorf("found %d of %d", len(names), total)
	}
}
