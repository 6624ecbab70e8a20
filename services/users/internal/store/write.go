package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus/outbox"
	"github.com/tidings-dev/tidings/services/internal/database"
)

// UnknownError is the error of a write of which nobody on this side knows whether it was stored: the connection to
// Postgres broke between COMMIT and its answer, and asking again did not help. On SQLite it doesn't happen. The same write
// may be sent again: see package door for what it finds.
type UnknownError struct {
	ID  string // of the user: one that was to be created has it, if it was
	Err error  // of the last try
}

// Error says what is not known, and why.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("store: whether the change of user %s was stored is not known: %v", e.ID, e.Err)
}

// Unwrap returns the error of the last try.
func (e *UnknownError) Unwrap() error { return e.Err }

// errAgain is the error of a transaction that met another one, and finds something else at the next try.
var errAgain = fmt.Errorf("store: another write came in between: %w", outbox.ErrNotCommitted)

// pauses are those before each further try. A server that is taken over, or restarted, is back within seconds.
var pauses = [...]time.Duration{0, 50 * time.Millisecond, 250 * time.Millisecond, time.Second, 2 * time.Second}

// maxDoubt bounds all tries after the first that is in doubt: somebody waits for the answer.
const maxDoubt = 8 * time.Second

// change is a write inside a transaction. again says that a run before may have been stored.
type change func(ctx context.Context, tx outbox.Tx, again bool) error

// write runs fn in a transaction, and again where another write of the same moment was in its way, or where it is not
// known whether it was committed. fn must be such that a second run, after a first one that was stored, finds that, and
// answers as if it had been the first: so the answer of the second run is the answer. It waits for the first's row
// locks, should that still be under way on the server.
func (s *Store) write(ctx context.Context, id string, fn change) error {
	unknown := false
	for try := 0; ; try++ {
		err := s.cfg.Outbox.InTx(ctx, func(ctx context.Context, tx outbox.Tx) error { return fn(ctx, tx, unknown) })
		inDoubt := errors.Is(err, outbox.ErrInDoubt)
		if inDoubt && !unknown {
			unknown = true
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, maxDoubt)
			defer cancel() // once
		}
		if again := inDoubt || isRace(err) || unknown && isFault(err); !again {
			return err
		}
		if try == len(pauses) || !sleep(ctx, pauses[try]) {
			if unknown {
				return &UnknownError{ID: id, Err: err}
			}
			return fmt.Errorf("%w: %w", outbox.ErrNotCommitted, err)
		}
	}
}

// isRace reports whether err tells of another write of the same moment, which is over by now.
func isRace(err error) bool { return errors.Is(err, errAgain) || database.IsUnique(err) }

// isFault reports whether err says nothing of the users, but that the database, or the caller, has given up.
func isFault(err error) bool {
	return errors.Is(err, outbox.ErrNotCommitted) || database.IsUnavailable(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// sleep waits, and reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
