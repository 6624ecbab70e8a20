package sqldb

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// How a transaction of a [Writer] failed, where it was not fn alone; test with [errors.Is].
var (
	// ErrNotCommitted is wrapped by the error of a transaction that could not begin, whose COMMIT failed, or that the
	// database ended by itself (its disk is full, the connection is gone): nothing of it is stored, and it may be tried
	// again.
	ErrNotCommitted = errors.New("not committed")

	// ErrRejected is wrapped, beside ErrNotCommitted, where the same would happen at every try: Postgres refused the
	// COMMIT for what the transaction holds. A deferred constraint is broken, or fn passed over the error of a
	// statement, which makes Postgres take everything back. It is no fault of the store.
	ErrRejected = errors.New("the database refuses what the transaction holds")

	// ErrInDoubt is wrapped by the error of a transaction whose COMMIT was sent and not answered, because the
	// connection was cut: it is stored, or it is not, or it will be in a moment. It happens on Postgres alone. See the
	// package's documentation for what to do.
	ErrInDoubt = errors.New("it is not known whether it was committed")
)

// IsStoreFault reports whether err tells of the database's state, and not of what it was asked: it is away, starting
// or shutting down, out of room, read-only, too busy; it chose the transaction as a deadlock's victim. Trying the same
// again later may work. Everything that wraps [ErrNotCommitted] or [ErrInDoubt] is one, unless it wraps [ErrRejected].
//
// Errors of Postgres are known by their SQLSTATE, those of mattn/go-sqlite3 by their code; neither driver is linked.
// A connection that can't be made, or breaks, is known where a [Writer] says so: an error of the network by itself may
// be anybody's. The end of a context is none.
func IsStoreFault(err error) bool {
	if err == nil || errors.Is(err, ErrRejected) {
		return false
	}
	for _, of := range []error{ErrNotCommitted, ErrInDoubt, driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone} {
		if errors.Is(err, of) {
			return true
		}
	}
	return hasCode(err)
}

// Fault returns the first fault of the store that a statement of tx has reported, or nil. Whoever calls strangers'
// code inside a transaction, and goes on after its error, asks here: the stranger may have made another error of it.
// Of a *[sql.Tx] nothing is known.
func Fault(tx Tx) error {
	if t, ok := tx.(interface{ storeFault() error }); ok {
		return t.storeFault()
	}
	return nil
}

// CloseRows closes the rows that were handed out by tx last, and are still open. On Postgres they would stand in the way
// of every further statement. Whoever calls strangers' code inside a transaction, and goes on after it, asks for it. On
// SQLite, where they don't, they are closed with the transaction; of a *[sql.Tx] nothing is known.
func CloseRows(tx Tx) {
	if t, ok := tx.(interface{ closeRows() }); ok {
		t.closeRows()
	}
}

// hasCode looks for a code of the database's own state anywhere in err.
func hasCode(err error) bool {
	if s, ok := err.(interface{ SQLState() string }); ok && isFaultState(s.SQLState()) || isFaultCode(sqliteCode(err)) {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		return inner != nil && hasCode(inner)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), hasCode)
	}
	return false
}

// faultStates are SQLSTATEs, or the classes that they begin with, that tell of Postgres's own state.
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
	return state != "" && state != integrity &&
		slices.ContainsFunc(faultStates[:], func(s string) bool { return strings.HasPrefix(state, s) })
}

// inFailedTx is the SQLSTATE of a statement after the one that failed.
const inFailedTx = "25P02"

// sqlState is the SQLSTATE of err, or "".
func sqlState(err error) string {
	var s interface{ SQLState() string }
	if errors.As(err, &s) {
		return s.SQLState()
	}
	return ""
}

// sqliteCode is the primary result code where err itself is mattn/go-sqlite3's, else 0. The driver has no method that
// tells it, only an exported field.
func sqliteCode(err error) int64 {
	v := reflect.ValueOf(err)
	if v.Kind() != reflect.Struct || v.Type().Name() != "Error" || !strings.HasSuffix(v.Type().PkgPath(), "/go-sqlite3") {
		return 0
	}
	code := v.FieldByName("Code")
	if !code.IsValid() || !code.CanInt() {
		return 0
	}
	return code.Int() & 0xff // the rest says more precisely what it is
}

// isFaultCode knows SQLite's codes that tell of the file, the disk or the lock: BUSY, LOCKED, NOMEM, READONLY,
// INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL and NOTADB.
func isFaultCode(code int64) bool {
	return slices.Contains([]int64{5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 26}, code)
}

// lostBy is the error of a transaction that the database ended at the error cause.
func lostBy(cause error) error {
	return fmt.Errorf("%w: the database ended the transaction: %w", ErrNotCommitted, orErr(cause, errors.New("no error was given")))
}

// masked puts the fault of the store that a statement has met in front of err, which fn has made of it.
func masked(fault, err error) error {
	return fmt.Errorf("%w: a statement failed: %w; then: %w", ErrNotCommitted, fault, err)
}

// orErr is err, or another error where there is none.
func orErr(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}
