package servicetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // by its name, for what stands beside the service
	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/services/internal/database"
)

const (
	// PostgresEnv names the Postgres server that tests run on: postgres://user@host:5432/database.
	PostgresEnv = "TIDINGS_TEST_POSTGRES"
	// DialectEnv says which databases [Main] runs the tests on: sqlite or postgres; empty is both.
	DialectEnv = "TIDINGS_TEST_DATABASE"
)

// Main is for the TestMain of a package whose tests are to hold on every database. It runs them all on SQLite, and
// then all again on the server that TIDINGS_TEST_POSTGRES names, each in a schema of its own; what [Database] and
// [Common] give is of the one or the other. It also looks for goroutines that are left, and exits.
//
// A test of one database alone begins with [SQLiteOnly] or [PostgresOnly]. Where there is no server, the second half
// does not run; have a test call [NeedsPostgres], which says so.
func Main(m *testing.M) { goleak.VerifyTestMain(passes{m}) }

// passes runs the tests once for each database.
type passes struct{ m *testing.M }

// Run returns the first code that is not 0.
func (p passes) Run() (code int) {
	only := os.Getenv(DialectEnv)
	for _, d := range []database.Dialect{database.SQLite, database.Postgres} {
		if only != "" && only != string(d) || only == "" && d == database.Postgres && os.Getenv(PostgresEnv) == "" {
			continue
		}
		if err := os.Setenv(DialectEnv, string(d)); err != nil { // for programs that tests start, too
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("tests on", d)
		if code = p.m.Run(); code != 0 {
			return code
		}
	}
	return code
}

// Dialect is what the databases of tests are at the moment.
func Dialect() database.Dialect {
	if os.Getenv(DialectEnv) == string(database.Postgres) {
		return database.Postgres
	}
	return database.SQLite
}

// NeedsPostgres skips a test, with the reason, where no Postgres is named, and fails it in CI.
func NeedsPostgres(t testing.TB) {
	t.Helper()
	switch {
	case os.Getenv(PostgresEnv) != "":
	case os.Getenv("CI") == "true":
		t.Fatal(PostgresEnv + " is not set, and CI tests on Postgres")
	default:
		t.Skip(PostgresEnv + " names no server: nothing of this package was tested on Postgres")
	}
}

// SQLiteOnly skips a test on Postgres that makes no sense there, for the reason why.
func SQLiteOnly(t testing.TB, why string) {
	t.Helper()
	if Dialect() == database.Postgres {
		t.Skip("on SQLite alone: " + why)
	}
}

// PostgresOnly skips a test on SQLite that makes no sense there, for the reason why.
func PostgresOnly(t testing.TB, why string) {
	t.Helper()
	if Dialect() != database.Postgres {
		t.Skip("on Postgres alone: " + why)
	}
}

// DSN is a database of the test's own, of the kind at hand: a file, or a schema that is dropped when the test ends.
func DSN(t testing.TB, name string) string {
	t.Helper()
	if Dialect() == database.Postgres {
		return NewSchema(t, name).DSN
	}
	return sqliteDSN(t, name)
}

// Schema is a schema on the server of TIDINGS_TEST_POSTGRES, for one test.
type Schema struct {
	Name  string
	DSN   string  // for --db
	Admin *sql.DB // of the same server, in no schema in particular
}

// NewSchema names a schema that nobody else uses, and drops it when the test ends. Whoever opens DSN makes it.
func NewSchema(t testing.TB, name string) *Schema {
	t.Helper()
	NeedsPostgres(t)
	u, err := url.Parse(os.Getenv(PostgresEnv))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal(err)
	}
	s := &Schema{Name: strings.ToLower("test_" + name + "_" + rand.Text()[:12]), Admin: admin}
	if password, set := u.User.Password(); set { // which --db doesn't take
		t.Setenv(database.PasswordEnv, password)
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	query.Set("schema", s.Name)
	u.RawQuery = query.Encode()
	s.DSN = u.String()
	t.Cleanup(func() {
		defer admin.Close()
		if _, err := admin.ExecContext(context.Background(), `DROP SCHEMA IF EXISTS `+s.Name+` CASCADE`); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Kill ends all sessions of the schema, as an administrator would, and waits until they are gone. They are known by
// the name of the application, so give the DSN one of its own.
func (s *Schema) Kill(t testing.TB, application string) {
	t.Helper()
	const text = `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1`
	if _, err := s.Admin.ExecContext(t.Context(), text, application); err != nil {
		t.Fatal(err)
	}
}

// With returns the DSN with parameters more: "pool_max_conns=4".
func (s *Schema) With(params string) string { return s.DSN + "&" + params }

// OpenDatabase opens dsn for a service, until the test ends.
func OpenDatabase(t testing.TB, dsn, service string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), dsn, slog.New(slog.DiscardHandler), database.ForService(service))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// NewRole makes a user who may log in and nothing else, with a setting such as "SET work_mem = '4MB'", and removes it,
// and what is its own, when the test ends.
func (s *Schema) NewRole(t testing.TB, setting string) string {
	t.Helper()
	role := "role_" + s.Name
	for _, text := range []string{`CREATE ROLE ` + role + ` LOGIN`, `ALTER ROLE ` + role + ` ` + setting} {
		if _, err := s.Admin.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, text := range []string{`DROP OWNED BY ` + role + ` CASCADE`, `DROP ROLE ` + role} {
			if _, err := s.Admin.ExecContext(context.Background(), text); err != nil {
				t.Error(err)
			}
		}
	})
	return role
}
