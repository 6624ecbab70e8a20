package service

import (
	"context"
	"database/sql"
	"errors"
)

// Rebuild refuses, for `tidings rebuild`: what an audit holds may be all that is left of an event.
func Rebuild(context.Context, *sql.DB) error {
	return errors.New("audit keeps a history: emptied, it would lose for good every event that the log has dropped since. " +
		"`tidings rewind audit` reads the log again and fills in what is missing; for another copy, start an audit on a new --db")
}
