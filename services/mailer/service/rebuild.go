package service

import (
	"context"
	"database/sql"
	"errors"
)

// Rebuild refuses, for `tidings rebuild`: what a mailer has forgotten, it does again.
func Rebuild(context.Context, *sql.DB) error {
	return errors.New("mailer is a reaction: emptied, it would forget whom it has mailed, and mail everybody again. " +
		"`tidings rewind mailer` reads the log again and mails only those whose event it has missed; " +
		"`tidings parked retry` tries a mail again that is dead")
}
