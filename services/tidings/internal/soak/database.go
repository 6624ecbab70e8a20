package soak

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "github.com/jackc/pgx/v5/stdlib" // to read the services' databases, beside them
	_ "github.com/mattn/go-sqlite3"    // the same
)

// The kinds of services. Each has one database.
const (
	users     = "users"
	directory = "directory"
	audit     = "audit"
	mailer    = "mailer"
)

// kinds are all services, and readers those that read the topic.
var (
	kinds   = [...]string{users, directory, audit, mailer}
	readers = kinds[1:]
)

// database is that of one kind of service, opened beside it.
type database struct {
	*sql.DB
	service  string
	postgres bool
	schema   string // on Postgres
}

// openSQLite opens a service's file. What it reads is of one moment, and a lock that it takes is the writer's.
func openSQLite(service, path string) (*database, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_busy_timeout=10000&_txlock=immediate"}
	db, err := sql.Open("sqlite3", u.String())
	if err != nil {
		return nil, fmt.Errorf("soak: %s: %w", path, err)
	}
	return &database{DB: db, service: service}, nil
}

// openSchema opens a service's schema on a Postgres.
func openSchema(service, server, schema string) (*database, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("soak: the address of Postgres can't be read")
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	db, err := sql.Open("pgx", u.String())
	if err != nil {
		return nil, fmt.Errorf("soak: schema %s: %w", schema, err)
	}
	db.SetMaxOpenConns(3)
	return &database{DB: db, service: service, postgres: true, schema: schema}, nil
}

// close closes the database, and drops the schema.
func (d *database) close() error {
	var err error
	if d.postgres {
		_, err = d.ExecContext(context.Background(), `DROP SCHEMA IF EXISTS `+d.schema+` CASCADE`)
	}
	return errors.Join(err, d.Close())
}

// locked are the tables that nobody else may touch while a service's database is locked on Postgres.
var locked = map[string]string{
	users:     "users, tidings_outbox, tidings_outbox_relay",
	directory: "tidings_inbox_position, people",
	audit:     "tidings_inbox_position, events",
	mailer:    "tidings_inbox_position, tidings_inbox_queue, messages",
}

// lock takes a lock that keeps the service from writing, on Postgres also from reading, until unlock is called.
func (d *database) lock(ctx context.Context) (unlock func() error, err error) {
	tx, err := d.BeginTx(ctx, nil) // on SQLite this takes the lock
	if err == nil && d.postgres {
		_, err = tx.ExecContext(ctx, `LOCK TABLE `+locked[d.service]+` IN ACCESS EXCLUSIVE MODE`)
	}
	if err != nil {
		if tx != nil {
			err = errors.Join(err, tx.Rollback())
		}
		return nil, fmt.Errorf("soak: lock of %s: %w", d.service, err)
	}
	return tx.Rollback, nil
}

// watched is a table whose changes are written down: what the note is called, and which columns make it.
type watched struct {
	what, table, source, key, version string
	updates                           bool // not only new rows
}

// watchedTables are, for each service, where order or a second handling would not show.
func watchedTables(service string) []watched {
	mark := watched{"mark", "tidings_inbox_mark", "NEW.source", "NEW.key", "NEW.version", true}
	switch service {
	case directory:
		return []watched{mark, {"person", "people", "0", "NEW.id", "NEW.version", true}}
	case audit:
		return []watched{mark, {"event", "events", "CASE NEW.source WHEN '/users' THEN 0 ELSE 1 END", "NEW.user_id", "NEW.version", false}}
	case mailer:
		return []watched{mark, {"queued", "tidings_inbox_queue", "NEW.source", "NEW.key", "0", false}}
	}
	return nil
}

// watch puts triggers into the database that write down each change, in the transaction of the change. The service must
// have made its tables.
func (d *database) watch(ctx context.Context) error {
	tables := watchedTables(d.service)
	if len(tables) == 0 {
		return nil
	}
	number := "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT"
	if d.postgres {
		number = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
	}
	texts := []string{`CREATE TABLE soak_log (seq ` + number + `, what TEXT NOT NULL, source BIGINT NOT NULL, key TEXT NOT NULL, version BIGINT NOT NULL)`}
	for _, t := range tables {
		texts = append(texts, t.triggers(d.postgres)...)
	}
	for _, text := range texts {
		if _, err := d.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("soak: watch %s: %w", d.service, err)
		}
	}
	return nil
}

// triggers are the statements that make a table's changes be written down.
func (w watched) triggers(postgres bool) []string {
	note := fmt.Sprintf(`INSERT INTO soak_log (what, source, key, version) VALUES ('%s', %s, %s, %s)`, w.what, w.source, w.key, w.version)
	if postgres {
		when := "INSERT"
		if w.updates {
			when = "INSERT OR UPDATE"
		}
		return []string{
			fmt.Sprintf(`CREATE FUNCTION soak_%s() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN %s; RETURN NULL; END $$`, w.what, note),
			fmt.Sprintf(`CREATE TRIGGER soak_%s AFTER %s ON %s FOR EACH ROW EXECUTE FUNCTION soak_%[1]s()`, w.what, when, w.table),
		}
	}
	texts := []string{fmt.Sprintf(`CREATE TRIGGER soak_%s_insert AFTER INSERT ON %s BEGIN %s; END`, w.what, w.table, note)}
	if w.updates {
		texts = append(texts, fmt.Sprintf(`CREATE TRIGGER soak_%s_update AFTER UPDATE ON %s BEGIN %s; END`, w.what, w.table, note))
	}
	return texts
}
