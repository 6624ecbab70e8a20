// Package pgtest gives tests a place on a real Postgres: a schema each, which stands for what is a database file
// elsewhere in the same tests.
package pgtest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// On reports whether a test is to make its databases on Postgres: it runs under one named TestOnPostgres, or the like.
func On(t testing.TB) bool { return strings.Contains(t.Name()+"/", "OnPostgres/") }

// Server is the address of the Postgres that tests run on. Where none is named the test is skipped, and fails in CI.
func Server(t testing.TB) string {
	t.Helper()
	const variable = "TIDINGS_TEST_POSTGRES"
	dsn := os.Getenv(variable)
	switch {
	case dsn == "" && os.Getenv("CI") == "true":
		t.Fatal(variable + " is not set, and CI tests on Postgres")
	case dsn == "":
		t.Skip(variable + " names no server: only a real Postgres is one")
	}
	return dsn
}

// Schema is the schema that stands for the database file of that path.
func Schema(path string) string {
	sum := sha256.Sum256([]byte(path))
	return "tidings_" + hex.EncodeToString(sum[:8])
}

// Open opens a pool in the schema that stands for a file. Who comes first makes it, and drops it in the end.
func Open(t testing.TB, path string) *sql.DB {
	t.Helper()
	name := Schema(path)
	if makeSchema(t, name) {
		t.Cleanup(func() { Exec(t, `DROP SCHEMA `+name+` CASCADE`) })
	}
	return openIn(t, name)
}

func openIn(t testing.TB, name string) *sql.DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(Server(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["search_path"] = name
	cfg.RuntimeParams["application_name"] = name
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { db.Close() })
	return db
}

// makeSchema reports false where the schema is there.
func makeSchema(t testing.TB, name string) (made bool) {
	t.Helper()
	const duplicateSchema = "42P06"
	err := tryExec(t, `CREATE SCHEMA `+name)
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() == duplicateSchema {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// Exec executes statements outside of any schema.
func Exec(t testing.TB, text string) {
	t.Helper()
	if err := tryExec(t, text); err != nil {
		t.Error(err)
	}
}

func tryExec(t testing.TB, text string) error {
	t.Helper()
	db, err := sql.Open("pgx", Server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(context.Background(), text)
	return err
}

// Statement makes a statement of a test one for Postgres; "" where there is nothing to be done.
func Statement(text string) string {
	if strings.HasPrefix(text, "PRAGMA") {
		return ""
	}
	return strings.NewReplacer("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
		"INTEGER", "BIGINT").Replace(text)
}

// Copy keeps a copy of a schema's rows under another name.
func Copy(t testing.TB, path, copied string) {
	t.Helper()
	from, to := Schema(path), Schema(copied)
	makeSchema(t, to)
	t.Cleanup(func() { Exec(t, `DROP SCHEMA IF EXISTS `+to+` CASCADE`) })
	Exec(t, fmt.Sprintf(`DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '%[1]s' LOOP
			EXECUTE format('CREATE TABLE %[2]s.%%I AS TABLE %[1]s.%%I', name, name);
		END LOOP; END $$`, from, to))
}

// Restore puts the rows of a copy in the place of a schema's own. Without a copy it empties the schema.
func Restore(t testing.TB, path, copied string) {
	t.Helper()
	to := Schema(path)
	if copied == "" {
		Exec(t, `DROP SCHEMA `+to+` CASCADE; CREATE SCHEMA `+to)
		return
	}
	Exec(t, fmt.Sprintf(`DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '%[1]s' LOOP
			EXECUTE format('TRUNCATE %[2]s.%%I', name);
			EXECUTE format('INSERT INTO %[2]s.%%I OVERRIDING SYSTEM VALUE TABLE %[1]s.%%I', name, name);
		END LOOP; END $$`, Schema(copied), to))
}

// WantByteOrder fails the test where a text column of a table in db's schema has another collation than "C", but for
// those of the names given, which nobody compares.
func WantByteOrder(t testing.TB, db *sql.DB, but ...string) {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name LIKE 'tidings%' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(but, column) {
			t.Errorf("%s.%s is not in the order of bytes", table, column)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
