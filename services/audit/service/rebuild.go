package service

import "errors"

// ErrNoRebuild is why `tidings rebuild` leaves an audit alone: what it holds may be all that is left of an event.
var ErrNoRebuild = errors.New("audit keeps a history: emptied, it would lose for good every event that the log has dropped since. " +
	"`tidings rewind audit` reads the log again and fills in what is missing; for another copy, start an audit on a new --db")
