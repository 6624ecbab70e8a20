package servicetest

import (
	"database/sql"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/database"
)

// Database opens a migrated database of the test's own, of the kind that [Main] is at, for a test of a store alone,
// until the test ends.
func Database(t testing.TB, name string, migrations fs.FS) *database.DB {
	t.Helper()
	db := OpenDatabase(t, DSN(t, name), name)
	if err := db.Migrate(t.Context(), migrations); err != nil {
		t.Fatal(err)
	}
	return db
}

// sqliteDSN is a file in a folder of the test's.
func sqliteDSN(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(t.TempDir(), name+".db")
}

// RemoveDatabase removes what [DSN] has named, while nobody has it open: whoever opens it next begins with nothing.
func RemoveDatabase(t testing.TB, dsn string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err == nil && u.Scheme == "postgres" {
		dropSchema(t, u.Query().Get("schema"))
		return
	}
	for _, name := range []string{dsn, dsn + "-wal", dsn + "-shm"} {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// dropSchema drops a schema of the server that TIDINGS_TEST_POSTGRES names.
func dropSchema(t testing.TB, name string) {
	t.Helper()
	admin, err := sql.Open("pgx", os.Getenv(PostgresEnv))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.ExecContext(t.Context(), `DROP SCHEMA IF EXISTS `+name+` CASCADE`); err != nil {
		t.Fatal(err)
	}
}
