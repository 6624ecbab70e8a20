package database

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidings-dev/tidings/bus"
)

// PasswordEnv is the environment variable of the password for Postgres. It goes before PGPASSWORD and ~/.pgpass. A
// password in the URL is refused: it would show up in process lists.
const PasswordEnv = "TIDINGS_DB_PASSWORD"

// Names of the URL's parameters that are our own. The others are libpq's, which [pgx.ParseConfig] reads.
const (
	paramSchema         = "schema"
	paramSearchPath     = "search_path"
	paramPool           = "pool_max_conns" // as pgxpool calls it
	paramPasswordFile   = "password.file"
	paramTCPUserTimeout = "tcp_user_timeout" // in milliseconds, as in libpq
)

// libpqParams are those that are handed on.
var libpqParams = [...]string{
	"application_name", "channel_binding", "connect_timeout", "passfile", "require_auth", "sslcert", "sslkey",
	"sslmode", "sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs",
}

const (
	// defaultPool is how many connections a service opens at most. A server allows 100 by default: four services with
	// two replicas each are to fit in.
	defaultPool = 10
	// minPool is what a service can't do without: the inbox's or outbox's transactions, the lock of migrations, and
	// reads beside them.
	minPool = 4

	defaultConnectTimeout = 5 * time.Second
	defaultTCPUserTimeout = 15 * time.Second
)

// server is what a Postgres URL says, checked and with its defaults filled in.
type server struct {
	config     *pgx.ConnConfig
	schema     string
	pool       int
	tcpTimeout time.Duration
}

// name is for people.
func (s *server) name() string {
	return fmt.Sprintf("schema %s of Postgres database %s at %s", s.schema, s.config.Database, s.address())
}

// address has no slash in it, so that nobody takes the name for a path.
func (s *server) address() string {
	if strings.HasPrefix(s.config.Host, "/") {
		return fmt.Sprintf("port %d of this machine", s.config.Port)
	}
	return net.JoinHostPort(s.config.Host, strconv.Itoa(int(s.config.Port)))
}

// parsePostgres reads a URL. Its errors don't repeat the URL, for a password may stand anywhere in one that is wrong.
func parsePostgres(dsn, service string) (*server, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("--db: this is no URL that can be read; write postgres://user@host:5432/database, with what is special in a part of it escaped (%40 for @)")
	}
	if _, set := u.User.Password(); set || u.Query().Has("password") {
		return nil, fmt.Errorf("--db: a password stands in the URL, which process lists show; pass it by %s, PGPASSWORD, ?%s=PATH or a passfile (~/.pgpass)", PasswordEnv, paramPasswordFile)
	}
	p, err := bus.ParseParams(u, append(libpqParams[:], paramSchema, paramSearchPath, paramPool, paramPasswordFile, paramTCPUserTimeout)...)
	if err != nil {
		return nil, fmt.Errorf("--db: %w", err)
	}
	s := &server{
		schema:     schemaOf(p, service),
		pool:       p.Number(paramPool, defaultPool, minPool, 1000),
		tcpTimeout: time.Duration(p.Number(paramTCPUserTimeout, int(defaultTCPUserTimeout.Milliseconds()), 1000, 3_600_000)) * time.Millisecond,
	}
	password, _ := p.Password("", PasswordEnv, paramPasswordFile) // without one, libpq's own places count
	if strings.Trim(u.Path, "/") == "" && os.Getenv("PGDATABASE") == "" {
		p.Fault("no database is named; write postgres://user@host:5432/database")
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("--db: %w", err)
	}
	if s.config, err = pgx.ParseConfig(forLibpq(u)); err != nil {
		return nil, fmt.Errorf("--db: %w", causeOf(err))
	}
	s.config.Password = cmp.Or(password, s.config.Password)
	if _, set := p.Get("application_name"); !set && service != "" {
		s.config.RuntimeParams["application_name"] = "tidings-" + service
	}
	return s, nil
}

// causeOf leaves the address out of an error of pgx.
func causeOf(err error) error {
	var parse interface{ Unwrap() error }
	if errors.As(err, &parse) {
		if cause := parse.Unwrap(); cause != nil {
			return cause
		}
	}
	return errors.New("the URL can't be used; write postgres://user@host:5432/database")
}

// forLibpq is the URL without the parameters that are our own.
func forLibpq(u *url.URL) string {
	theirs := *u
	query := u.Query()
	for _, own := range []string{paramSchema, paramSearchPath, paramPool, paramPasswordFile, paramTCPUserTimeout} {
		query.Del(own)
	}
	// With several servers the one to be used is the one that takes writes; after a failover it is another.
	if strings.Contains(u.Host, ",") && !query.Has("target_session_attrs") {
		query.Set("target_session_attrs", "read-write")
	}
	theirs.RawQuery = query.Encode()
	return theirs.String()
}

// schemaName is what needs no quotes anywhere, so that what is written here and in psql is the same.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// schemaOf reads the schema's name, which two parameters may give. It is the service's by default.
func schemaOf(p *bus.Params, service string) string {
	byName, named := p.Get(paramSchema)
	byPath, onPath := p.Get(paramSearchPath)
	name := service
	switch {
	case named && onPath:
		p.Fault("parameters %q and %q both name the schema; leave one out", paramSchema, paramSearchPath)
	case named:
		name = byName
	case onPath:
		name = byPath
	case service == "":
		p.Fault("no schema is named; write ?%s=NAME", paramSchema)
		return ""
	}
	if !schemaName.MatchString(name) || strings.HasPrefix(name, "pg_") || name == "information_schema" {
		p.Fault("%q can't be the schema; pass one name of lower-case letters, digits and _ by ?%s=NAME", name, paramSchema)
	}
	return name
}
