package servicetest

import (
	"io/fs"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/database"
)

// Database opens a migrated database in a folder of the test's, for a test of a store alone, until the test ends.
func Database(t testing.TB, name string, migrations fs.FS) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), filepath.Join(t.TempDir(), name+".db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(t.Context(), migrations); err != nil {
		t.Fatal(err)
	}
	return db
}
