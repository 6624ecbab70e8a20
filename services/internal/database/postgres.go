package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// cancelGrace is how long a statement that was cancelled may take to end. After it the connection is closed.
	cancelGrace = 5 * time.Second
	// idleInTx is how long a process may do nothing inside a transaction before the server ends it: one that is
	// stopped, or cut off, must not keep the rows that it has locked from its replicas.
	idleInTx = 30 * time.Second
	// maxIdle and maxLife let connections go, so that a server that was made anew, or taken over, gets its share.
	maxIdle = 5 * time.Minute
	maxLife = time.Hour
	// minVersion is the oldest release of Postgres that its makers still mend, and that sorts what is sorted in part.
	minVersion = 140000
)

// openPostgres opens the pool, makes the schema, and returns once the server has answered.
func openPostgres(ctx context.Context, s *server, log *slog.Logger) (*DB, error) {
	return connectPostgres(ctx, s, s.makeSchema, log)
}

// connectPostgres opens the pool, and returns once the server has answered and schema has seen to it that there is one.
func connectPostgres(ctx context.Context, s *server, schema func(context.Context, *sql.DB) error, log *slog.Logger) (*DB, error) {
	s.prepare()
	pool := stdlib.OpenDB(*s.config, stdlib.OptionAfterConnect(s.setUp))
	pool.SetMaxOpenConns(s.pool)
	pool.SetMaxIdleConns(s.pool)
	pool.SetConnMaxIdleTime(maxIdle)
	pool.SetConnMaxLifetime(maxLife)
	db := &DB{DB: pool, Dialect: Postgres, name: s.name(), log: log}
	err := s.check(ctx, pool)
	if err == nil {
		err = schema(ctx, pool)
	}
	if err != nil {
		_ = pool.Close() // the error that matters is the one before
		return nil, s.explain(err)
	}
	log.DebugContext(ctx, "database opened", "database", db.name, "user", s.config.User, "connections", s.pool)
	return db, nil
}

// prepare fills in what is the same for every connection.
func (s *server) prepare() {
	c := s.config
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	c.DialFunc = s.dialer().DialContext
	// The server is asked to cancel a statement whose context ends. pgx's own way, to close the connection, would cost
	// a new one for every caller who gives up, and let the statement go on.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelGrace}
	}
	c.RuntimeParams["client_encoding"] = "UTF8"
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// dialer notices a server that is gone without a word, also while it owes an answer.
func (s *server) dialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         s.config.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(network, _ string, c syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			return setUserTimeout(c, s.tcpTimeout)
		},
	}
}

// setUp gives a new connection its settings. They are no parameters of its start, for a pooler refuses those that it does
// not know, or passes them over: and without the schema everything would go into another one.
//
// A commit is on disk when it is answered, whatever the server, the database or the user has as default. What waits for
// more than the disk, a standby's replay, stays. By keepalives the server finds out that this machine is gone, as the
// dialer does for the other way round.
func (s *server) setUp(ctx context.Context, c *pgx.Conn) error {
	const text = `SELECT set_config('search_path', $1, false), set_config('idle_in_transaction_session_timeout', $2, false),
		set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
		set_config('tcp_keepalives_count', '3', false),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit')
			WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)`
	_, err := c.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol, s.schema, millis(idleInTx))
	return err
}

// check refuses a server that would keep something else than it was given.
func (s *server) check(ctx context.Context, pool *sql.DB) error {
	var version int
	var encoding string
	err := pool.QueryRowContext(ctx, `SELECT CAST(current_setting('server_version_num') AS INTEGER), current_setting('server_encoding')`).Scan(&version, &encoding)
	switch {
	case err != nil:
		return err
	case version < minVersion:
		return fmt.Errorf("%w: it is Postgres %d, and %d or newer is needed", ErrUnsupported, version/10000, minVersion/10000)
	case encoding != "UTF8":
		return fmt.Errorf("%w: its encoding is %s; make one that holds every name: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", ErrUnsupported, encoding)
	}
	return nil
}

// errNoGrant is the error of a schema that is there, and in which this user may not make tables.
var errNoGrant = errors.New("the schema is there, and this user may not use it")

// makeSchema makes the schema where it is missing. It asks first, for who may use a schema may not be allowed to make
// one. A user who lacks a right to the schema would be told later, in words that don't say so.
func (s *server) makeSchema(ctx context.Context, pool *sql.DB) error {
	there, err := s.hasSchema(ctx, pool, "USAGE", "CREATE")
	if err != nil || there {
		return err
	}
	_, err = pool.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{s.schema}.Sanitize())
	if IsUnique(err) { // another replica has made it at the same moment, which IF NOT EXISTS doesn't see
		err = nil
	}
	return err
}

// hasSchema reports whether the schema is there. One to which the user lacks one of the rights is an error.
func (s *server) hasSchema(ctx context.Context, pool *sql.DB, rights ...string) (there bool, err error) {
	const text = `SELECT (SELECT bool_and(has_schema_privilege(oid, r)) FROM unnest($2::text[]) AS r)
		FROM pg_catalog.pg_namespace WHERE nspname = $1`
	var granted bool
	switch err := pool.QueryRowContext(ctx, text, s.schema, rights).Scan(&granted); {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err == nil && !granted:
		return false, errNoGrant
	default:
		return err == nil, err
	}
}

// explain says what to do about an error of the start. None of pgx's has the password in it.
func (s *server) explain(err error) error {
	mend := ""
	var connect *pgconn.ConnectError
	switch state := sqlState(err); {
	case errors.Is(err, ErrUnsupported), errors.Is(err, context.Canceled):
	case errors.Is(err, errNoGrant):
		mend = fmt.Sprintf("; have it granted: GRANT USAGE, CREATE ON SCHEMA %s TO %s", s.schema, pgx.Identifier{s.config.User}.Sanitize())
	case strings.HasPrefix(state, "28"):
		mend = fmt.Sprintf("; pass the user in --db, and the password by %s, PGPASSWORD, ?%s=PATH or a passfile", PasswordEnv, paramPasswordFile)
	case state == "3D000":
		mend = fmt.Sprintf("; make it (CREATE DATABASE %s), or pass another with --db", pgx.Identifier{s.config.Database}.Sanitize())
	case state == "42501":
		mend = fmt.Sprintf("; have it made: CREATE SCHEMA %s AUTHORIZATION %s", s.schema, pgx.Identifier{s.config.User}.Sanitize())
	case state == "53300":
		mend = fmt.Sprintf("; raise the server's max_connections, or pass a smaller ?%s", paramPool)
	case state == "" && errors.As(err, &connect):
		mend = "; start the server, or pass another address with --db"
	}
	return fmt.Errorf("open %s: %w%s", s.name(), err, mend)
}
