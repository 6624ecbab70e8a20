package e2e

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // to read the books of services
	_ "github.com/mattn/go-sqlite3"
)

// postgresVar names the Postgres server that tests share.
const postgresVar = "TIDINGS_TEST_POSTGRES"

// onPostgres is the same bus for services that keep what they know on Postgres.
func (w wire) onPostgres(t *testing.T) wire {
	t.Helper()
	needPostgres(t)
	w.postgres = true
	return w
}

// needPostgres skips a test on a laptop where there is none, and fails it where there has to be.
func needPostgres(t *testing.T) {
	t.Helper()
	switch {
	case os.Getenv(postgresVar) != "":
	case os.Getenv("CI") == "true":
		t.Fatalf("CI is true and %s is not set: eval \"$(.ci/real up)\" first", postgresVar)
	default:
		t.Skipf("%s is not set: no Postgres to test with; see .ci/real", postgresVar)
	}
}

// newDatabase makes a database on the Postgres server, for one test, and returns its URL as --db takes it.
func newDatabase(t *testing.T) string {
	t.Helper()
	admin, err := sql.Open("pgx", os.Getenv(postgresVar))
	if err != nil {
		t.Fatal(err)
	}
	name := "e2e_" + strings.ToLower(rand.Text()[:12])
	if _, err := admin.ExecContext(t.Context(), `CREATE DATABASE `+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the processes were killed, whose sessions may still be ending
		defer func() { _ = admin.Close() }()
		if _, err := admin.ExecContext(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(os.Getenv(postgresVar))
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Path = url.User(u.User.Username()), "/"+name
	query := u.Query()
	query.Set("pool_max_conns", "6") // of processes there are many, and of connections 200
	u.RawQuery = query.Encode()
	return u.String()
}

// environment is what the services of the stack are told beside flags: the server's password, if it has one.
func (s *stack) environment() []string {
	u, err := url.Parse(os.Getenv(postgresVar))
	if err != nil || !s.postgres {
		return nil
	}
	password, set := u.User.Password()
	if !set {
		return nil
	}
	return []string{"TIDINGS_DB_PASSWORD=" + password}
}

// keepIn names the service's database: a file of that name, or a schema.
func (s *service) keepIn(home string) {
	s.home = home
	switch {
	case s.stack.server == "":
		s.db = filepath.Join(s.stack.dir, home+".db")
	case home == s.name: // the default
		s.db = s.stack.server
	default:
		s.db = s.stack.server + "&schema=" + home
	}
}

// database opens the service's database beside it, to read.
func (s *service) database() (*sql.DB, error) {
	if s.stack.server == "" {
		return sql.Open("sqlite3", "file:"+s.db+"?mode=ro&_busy_timeout=5000")
	}
	return s.stack.openServer(map[string]string{"search_path": s.home, "default_transaction_read_only": "on"})
}

// openServer opens the stack's Postgres database, with settings for its sessions.
func (s *stack) openServer(settings map[string]string) (*sql.DB, error) {
	u, err := url.Parse(os.Getenv(postgresVar)) // with the password
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(s.server)
	if err != nil {
		return nil, err
	}
	u.Path = at.Path
	query := u.Query()
	for name, value := range settings {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return sql.Open("pgx", u.String())
}

// ask reads one value from the service's database.
func (s *service) ask(t *testing.T, query string) (answer string) {
	t.Helper()
	db, err := s.database()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // nothing was written
	if err := db.QueryRowContext(t.Context(), query).Scan(&answer); err != nil {
		t.Fatalf("%s: %s: %v", s.name, query, err)
	}
	return answer
}

// forget deletes the database, as somebody does who wants it filled anew. The service must be stopped.
func (s *service) forget(t *testing.T) {
	t.Helper()
	if s.stack.server != "" {
		s.dropSchema(t)
	} else {
		s.removeFiles(t)
	}
	s.isNew()
}

func (s *service) dropSchema(t *testing.T) {
	t.Helper()
	db, err := s.stack.openServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the statement's error is what counts
	if _, err := db.ExecContext(t.Context(), `DROP SCHEMA `+s.home+` CASCADE`); err != nil {
		t.Fatal(err)
	}
}

func (s *service) removeFiles(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(s.db + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no database at %s: %v", s.db, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".lock") {
			continue
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}
