package database

import (
	"database/sql/driver"
	"errors"
	"slices"

	"github.com/mattn/go-sqlite3"
)

// IsUnavailable reports whether err says that the database can't do it just now, while nothing is wrong with the
// statement: it is locked, its disk is full or broken, the connection is gone. Trying again later may work.
func IsUnavailable(err error) bool {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return slices.Contains([]sqlite3.ErrNo{
			sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrIoErr,
			sqlite3.ErrFull, sqlite3.ErrCantOpen, sqlite3.ErrProtocol,
		}, e.Code)
	}
	return errors.Is(err, driver.ErrBadConn)
}

// IsUnique reports whether err says that a row would have repeated a primary key or a unique index.
func IsUnique(err error) bool {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.ExtendedCode == sqlite3.ErrConstraintUnique || e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey
}
