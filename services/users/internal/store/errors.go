package store

import (
	"errors"
	"fmt"
)

// ErrNotFound is wrapped by the error for a user that never was, and for a change of one that was deleted.
var ErrNotFound = errors.New("there is no such user")

// InUseError refuses an address that another user holds.
type InUseError struct{ ID string } // who holds it

// Error names the user who holds the address.
func (e *InUseError) Error() string {
	return fmt.Sprintf("store: the address is in use by user %s", e.ID)
}

// PreconditionError refuses a change of a user that is at a version that the Precondition does not allow.
type PreconditionError struct{ Version uint64 } // where the user is

// Error names the version.
func (e *PreconditionError) Error() string {
	return fmt.Sprintf("store: the user is at version %d, which the precondition does not allow", e.Version)
}
