package database_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// openFor opens dsn for a service until the test ends.
func openFor(t *testing.T, dsn, service string) *database.DB {
	t.Helper()
	return servicetest.OpenDatabase(t, dsn, service)
}

// change returns the DSN with another address, user, path or parameters.
func change(t *testing.T, dsn string, how func(u *url.URL, query url.Values)) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	how(u, query)
	u.RawQuery = query.Encode()
	return u.String()
}

// pgMigrations are migrations for Postgres.
func pgMigrations(files map[string]string) fs.FS {
	all := fstest.MapFS{}
	for name, text := range files {
		all["migrations/postgres/"+name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return all
}

func mustExec(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func TestOnPostgresAServiceKeepsToASchemaNamedAfterIt(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	plain := change(t, s.DSN, func(_ *url.URL, q url.Values) { q.Del("schema") })
	for _, part := range []string{"_a", "_b"} {
		db := openFor(t, plain, s.Name+part)
		t.Cleanup(func() { s.Admin.Exec(`DROP SCHEMA ` + s.Name + part + ` CASCADE`) })
		if err := db.Migrate(t.Context(), pgMigrations(map[string]string{"00001_t.sql": `CREATE TABLE t (n BIGINT);`})); err != nil {
			t.Fatal(err)
		}
		var schema string
		if err := db.QueryRow(`SELECT schemaname FROM pg_tables WHERE tablename = 't' AND schemaname = current_schema()`).Scan(&schema); err != nil || schema != s.Name+part {
			t.Errorf("the table is in %q (%v)", schema, err)
		}
		if !strings.Contains(db.Name(), "schema "+s.Name+part+" of Postgres database") || db.Dialect != database.Postgres {
			t.Errorf("it is called %q, %s", db.Name(), db.Dialect)
		}
		if err := db.Readable(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestASchemaBelongsToOneServiceAndToAllItsReplicas(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	files := pgMigrations(map[string]string{"00001_t.sql": `CREATE TABLE t (n BIGINT);`})
	for range 2 {
		if err := openFor(t, s.DSN, "users").Migrate(t.Context(), files); err != nil {
			t.Errorf("a replica: %v", err)
		}
	}
	err := openFor(t, s.DSN, "directory").Migrate(t.Context(), files)
	if !errors.Is(err, database.ErrInUse) || !strings.Contains(err.Error(), "by the service users") || !strings.Contains(err.Error(), "?schema") {
		t.Errorf("another service: %v", err)
	}
}

func TestReplicasThatStartTogetherMigrateOnce(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	// The second of two at once would fail, or do it twice.
	files := pgMigrations(map[string]string{
		"00001_t.sql":    `CREATE TABLE t (n BIGINT); SELECT pg_sleep(0.05); INSERT INTO t VALUES (1);`,
		"00002_more.sql": `INSERT INTO t VALUES (2);`,
	})
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			db, err := database.Open(t.Context(), s.DSN, discard, database.ForService("users"))
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if err := db.Migrate(t.Context(), files); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	db := openFor(t, s.DSN, "users")
	var n, locks int
	if err := db.QueryRow(`SELECT count(*) FROM t`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows (%v), want 2", n, err)
	}
	// Of this schema: others on the server migrate theirs meanwhile.
	const left = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
		AND (classid::bigint << 32 | objid::bigint) = hashtextextended(current_schema() || '.service_migrations', 0)`
	if err := db.QueryRow(left).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks are left (%v)", locks, err)
	}
	err := db.Migrate(t.Context(), pgMigrations(map[string]string{"00001_t.sql": `SELECT 1;`}))
	if err == nil || !strings.Contains(err.Error(), "it is at version 2 and this program knows 1") || !strings.Contains(err.Error(), "another schema") {
		t.Errorf("an older program got %v", err)
	}
}

func TestWhoWaitsForAMigrationStopsWithItsContext(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	db := openFor(t, s.DSN, "users")
	holder, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if _, err := holder.ExecContext(t.Context(), `SELECT pg_advisory_lock(hashtextextended(current_schema() || '.service_migrations', 0))`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := db.Migrate(ctx, pgMigrations(map[string]string{"00001_t.sql": `SELECT 1;`})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestEveryPostgresConnectionHasItsSettings(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	role := s.NewRole(t, `SET synchronous_commit = off`)
	mustExec(t, s.Admin, `CREATE SCHEMA `+s.Name+` AUTHORIZATION `+role)
	db := openFor(t, change(t, s.With("pool_max_conns=5"), func(u *url.URL, _ url.Values) { u.User = url.User(role) }), "users")
	if n := db.Stats().MaxOpenConnections; n != 5 {
		t.Errorf("the pool has %d connections, want 5", n)
	}
	for range 5 {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for name, want := range map[string]string{
			"synchronous_commit": "on", "search_path": s.Name, "application_name": "tidings-users",
			"idle_in_transaction_session_timeout": "30s", "tcp_keepalives_idle": "10", "client_encoding": "UTF8",
		} {
			var got string
			if err := c.QueryRowContext(t.Context(), "SHOW "+name).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, want %q (%v)", name, got, want, err)
			}
		}
	}
}

func TestAServerThatWaitsForMoreThanItsDiskGoesOnDoingSo(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	role := s.NewRole(t, `SET synchronous_commit = remote_apply`)
	mustExec(t, s.Admin, `CREATE SCHEMA `+s.Name+` AUTHORIZATION `+role)
	db := openFor(t, change(t, s.DSN, func(u *url.URL, _ url.Values) { u.User = url.User(role) }), "users")
	var got string
	if err := db.QueryRow(`SHOW synchronous_commit`).Scan(&got); err != nil || got != "remote_apply" {
		t.Errorf("synchronous_commit is %q (%v)", got, err)
	}
}

func TestAUserWhoMayNotMakeTheSchemaIsToldWhatToDo(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	role := s.NewRole(t, `SET work_mem = '4MB'`)
	dsn := change(t, s.DSN, func(u *url.URL, _ url.Values) { u.User = url.User(role) })
	_, err := database.Open(t.Context(), dsn, discard, database.ForService("users"))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf(`CREATE SCHEMA %s AUTHORIZATION "%s"`, s.Name, role)) {
		t.Errorf("got %v", err)
	}
	mustExec(t, s.Admin, `CREATE SCHEMA `+s.Name)
	for _, granted := range []string{"", "USAGE", "CREATE"} { // without both, it can do nothing
		if granted != "" {
			mustExec(t, s.Admin, `REVOKE ALL ON SCHEMA `+s.Name+` FROM `+role)
			mustExec(t, s.Admin, `GRANT `+granted+` ON SCHEMA `+s.Name+` TO `+role)
		}
		_, err := database.Open(t.Context(), dsn, discard, database.ForService("users"))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf(`GRANT USAGE, CREATE ON SCHEMA %s TO "%s"`, s.Name, role)) {
			t.Errorf("with %q granted: %v", granted, err)
		}
	}
	mustExec(t, s.Admin, `GRANT USAGE, CREATE ON SCHEMA `+s.Name+` TO `+role)
	if err := openFor(t, dsn, "users").Migrate(t.Context(), pgMigrations(map[string]string{"00001_t.sql": `CREATE TABLE t (n BIGINT);`})); err != nil {
		t.Errorf("with the schema made: %v", err)
	}
}

func TestAServerThatCannotBeHadIsAnErrorThatSaysWhatToDo(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	nobody := "nobody_" + strings.ToLower(rand.Text()[:8])
	for name, tt := range map[string]struct {
		how  func(u *url.URL, q url.Values)
		want string
	}{
		"not there":   {func(u *url.URL, _ url.Values) { u.Host = gone.Addr().String() }, "start the server, or pass another address with --db"},
		"silent":      {func(u *url.URL, q url.Values) { u.Host = l.Addr().String(); q.Set("connect_timeout", "1") }, "start the server"},
		"no database": {func(u *url.URL, _ url.Values) { u.Path = "/" + nobody }, `CREATE DATABASE "` + nobody + `"`},
		"no user":     {func(u *url.URL, _ url.Values) { u.User = url.User(nobody) }, "TIDINGS_DB_PASSWORD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(database.PasswordEnv, "geheim")
			began := time.Now()
			_, err := database.Open(t.Context(), change(t, s.DSN, tt.how), discard, database.ForService("users"))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "schema "+s.Name) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if !database.IsUnavailable(err) {
				t.Errorf("%v is not worth another try", err)
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestSessionsThatWereEndedAreReplaced(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	db := openFor(t, s.With("application_name="+s.Name), "users")
	if err := db.Readable(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Kill(t, s.Name)
	if err := db.Readable(t.Context()); err != nil && !database.IsUnavailable(err) {
		t.Errorf("right after: %v", err)
	}
	if err := db.Readable(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
	mustExec(t, s.Admin, `DROP SCHEMA `+s.Name+` CASCADE`)
	if err := db.Readable(t.Context()); err == nil || !strings.Contains(err.Error(), "the schema is gone") {
		t.Errorf("without the schema: %v", err)
	}
}

func TestAStatementWhoseContextEndsIsCancelledAndTheConnectionStays(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	db := openFor(t, s.DSN, "users")
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pid := func() (n int) {
		if err := c.QueryRowContext(t.Context(), `SELECT pg_backend_pid()`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := pid()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.ExecContext(ctx, `SELECT pg_sleep(30)`); err == nil {
		t.Error("it was not cancelled")
	}
	if after := pid(); after != before {
		t.Errorf("session %d has become %d", before, after)
	}
}

// A service that is told to stop while it migrates stops, and has not failed.
func TestAMigrationWhoseContextEndsSaysSo(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	db := openFor(t, s.DSN, "users")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := db.Migrate(ctx, pgMigrations(map[string]string{"00001_t.sql": `SELECT pg_sleep(30);`}))
	if !errors.Is(err, context.DeadlineExceeded) || database.IsUnavailable(err) {
		t.Errorf("got %v, want the end of the context, which is no fault of the database", err)
	}
}

// A pooler refuses parameters at the start of a connection that it does not know, or passes them over: and a service whose
// schema was passed over would go on in another one.
func TestNothingDependsOnParametersOfTheStart(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	p := servicetest.NewProxy(t, s)
	openFor(t, p.DSN, "users")
	for _, known := range []string{"client_encoding", "application_name", "user", "database"} {
		if !slices.Contains(p.Started(), known) {
			t.Errorf("%s is not among the parameters %q", known, p.Started())
		}
	}
	if n := len(p.Started()); n != 4 {
		t.Errorf("connections are started with %q", p.Started())
	}
}

func TestErrorsOfPostgresAreToldApart(t *testing.T) {
	s := servicetest.NewSchema(t, "database")
	db := openFor(t, s.With("application_name="+s.Name), "users")
	mustExec(t, db.DB, `CREATE TABLE t (id TEXT PRIMARY KEY, email TEXT UNIQUE, n BIGINT NOT NULL); INSERT INTO t VALUES ('a', 'e', 1), ('b', 'f', 1)`)
	try := func(statement string) error {
		_, err := db.Exec(statement)
		return fmt.Errorf("store: %w", err)
	}
	killed := func() error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		s.Kill(t, s.Name)
		_, err = tx.Exec(`SELECT 1`)
		return fmt.Errorf("store: %w", err)
	}
	ended := func() error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := db.ExecContext(ctx, `SELECT 1`)
		return fmt.Errorf("store: %w", err)
	}
	for _, tt := range []struct {
		name                string
		err                 error
		unique, unavailable bool
	}{
		{"primary key", try(`INSERT INTO t VALUES ('a', 'g', 1)`), true, false},
		{"unique index", try(`INSERT INTO t VALUES ('c', 'e', 1)`), true, false},
		{"not null", try(`INSERT INTO t VALUES ('c', 'g', NULL)`), false, false},
		{"syntax", try(`SELEKT`), false, false},
		{"zero byte", func() error { _, err := db.Exec(`INSERT INTO t VALUES ($1, 'x', 1)`, "\x00"); return err }(), false, false},
		{"read only", try(`DO $$ BEGIN RAISE SQLSTATE '25006'; END $$`), false, true},
		{"lock", try(`DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$`), false, true},
		{"deadlock", try(`DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$`), false, true},
		{"broken constraint at commit", try(`DO $$ BEGIN RAISE SQLSTATE '40002'; END $$`), false, false},
		{"killed", killed(), false, true},
		{"context", ended(), false, false},
	} {
		if got := database.IsUnique(tt.err); got != tt.unique {
			t.Errorf("%s: IsUnique(%v) is %v", tt.name, tt.err, got)
		}
		if got := database.IsUnavailable(tt.err); got != tt.unavailable {
			t.Errorf("%s: IsUnavailable(%v) is %v", tt.name, tt.err, got)
		}
	}
}
