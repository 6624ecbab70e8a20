package service

import "errors"

// ErrNoRebuild is why `tidings rebuild` leaves a mailer alone: what it has forgotten, it does again.
var ErrNoRebuild = errors.New("mailer is a reaction: emptied, it would forget whom it has mailed, and mail everybody again. " +
	"`tidings rewind mailer` reads the log again and mails only those whose event it has missed; " +
	"`tidings parked retry` tries a mail again that is dead")
