package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"
)

// IsUnavailable reports whether err says that the database can't do it just now, while nothing is wrong with the
// statement: it is locked, its disk is full or broken, the server is away, shutting down or full, the connection is
// gone, the transaction was the victim of a deadlock. Trying again later may work. The end of the caller's own context
// is none of this; but where it cut a statement short on Postgres, the error doesn't say so: ask the context.
func IsUnavailable(err error) bool {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return slices.Contains([]sqlite3.ErrNo{
			sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrIoErr,
			sqlite3.ErrFull, sqlite3.ErrCantOpen, sqlite3.ErrProtocol,
		}, e.Code)
	}
	switch state := sqlState(err); {
	case state == "":
		return isBroken(err)
	case state == cancelled && isEnd(err):
		return false
	default:
		return isFaultState(state)
	}
}

// cancelled is the SQLSTATE of a statement that somebody had the server cancel: as a rule this program, since the context
// has ended. The server can't tell.
const cancelled = "57014"

// isEnd reports whether err tells of the end of a context.
func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// endOf makes the end of ctx known in the error of what it has cut short on Postgres, whose own tells of a statement that
// was cancelled, and not why.
func endOf(ctx context.Context, err error) error {
	if sqlState(err) != cancelled || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// IsUnique reports whether err says that a row would have repeated a primary key or a unique index.
func IsUnique(err error) bool {
	const uniqueViolation = "23505"
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return sqlState(err) == uniqueViolation
	}
	return e.ExtendedCode == sqlite3.ErrConstraintUnique || e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey
}

// isBroken knows the errors of a connection to Postgres that can't be made, or breaks.
func isBroken(err error) bool {
	var connect *pgconn.ConnectError
	var network *net.OpError
	switch {
	case errors.As(err, &connect):
		return true
	case isEnd(err):
		return false
	case errors.As(err, &network):
		return true
	}
	for _, of := range []error{driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, of) {
			return true
		}
	}
	return err != nil && pgconn.SafeToRetry(err) // "conn closed", "conn busy"
}

// faultStates are SQLSTATEs, or the classes that they begin with, that tell of Postgres's own state. They are those of
// bus/internal/sqldb.
var faultStates = [...]string{
	"08",    // the connection
	"25006", // read-only: a standby, or a disk nearly full
	"25P03", // idle in the transaction for too long
	"25P04", // the transaction took too long
	"28",    // we may not log in
	"3D000", // the database is not there
	"40",    // rolled back: serialization, deadlock
	"53",    // out of memory, disk or connections
	"55006", // in use
	"55P03", // a lock was not to be had
	"57",    // cancelled, shutting down, starting up
	"58",    // the system underneath
	"72",    // a snapshot too old
	"XX",    // broken inside
}

func isFaultState(state string) bool {
	const integrity = "40002" // a constraint, in the class of what was rolled back
	return state != integrity &&
		slices.ContainsFunc(faultStates[:], func(s string) bool { return strings.HasPrefix(state, s) })
}

// sqlState is the SQLSTATE of err, or "".
func sqlState(err error) string {
	var s interface{ SQLState() string }
	if errors.As(err, &s) {
		return s.SQLState()
	}
	return ""
}
