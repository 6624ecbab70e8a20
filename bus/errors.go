package bus

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Sentinels that callers decide by; test with [errors.Is].
var (
	// ErrClosed is returned by calls on a Bus after its Close.
	ErrClosed = errors.New("bus: closed")
	// ErrTooLarge is wrapped by the error for an event over [MaxEventBytes].
	ErrTooLarge = errors.New("event is too large")
)

// PublishError says which events of a Publish were not acknowledged. They may be stored all the same.
type PublishError struct {
	Topic  string
	Failed map[int]error // by index into the events of the call
}

// Error gives the count and the error of the first event that failed.
func (e *PublishError) Error() string {
	i := e.first()
	return fmt.Sprintf("bus: publish to %q: %d not acknowledged, first is event %d: %v", e.Topic, len(e.Failed), i, e.Failed[i])
}

// Unwrap returns the error of the first event that failed.
func (e *PublishError) Unwrap() error { return e.Failed[e.first()] }

func (e *PublishError) first() int {
	if len(e.Failed) == 0 {
		return 0
	}
	return slices.Min(slices.Collect(maps.Keys(e.Failed)))
}

// GuaranteeError refuses a subscription that requires what the backend can't do.
type GuaranteeError struct {
	Group   string
	Missing Guarantees
}

// Error names the guarantees that are missing.
func (e *GuaranteeError) Error() string {
	return fmt.Sprintf("bus: group %q requires what this bus lacks: %v", e.Group, e.Missing)
}

// Permanent marks a handler's error as one that no retry can mend: it ends Subscribe. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or an error that it wraps, was made by [Permanent].
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// RetryAfter marks a handler's error with the delay after which the delivery is to come again, in place of the
// growing one. It returns nil for nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryError{err, d}
}

// RetryDelay returns the delay given to [RetryAfter] in err or in an error that it wraps.
func RetryDelay(err error) (d time.Duration, ok bool) {
	var r *retryError
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.after, true
}

type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// AtEvent says that the event at index i of the delivery is at fault. It returns nil for nil.
func AtEvent(i int, err error) error {
	if err == nil {
		return nil
	}
	return &eventError{err, i}
}

// FaultyEvent returns the index given to [AtEvent] in err or in an error that it wraps.
func FaultyEvent(err error) (i int, ok bool) {
	var e *eventError
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.index, true
}

type eventError struct {
	error
	index int
}

func (e *eventError) Unwrap() error { return e.error }

// Reread is a handler's answer when the reader's own positions are no longer what the delivery assumed
// (somebody rewound, rebuilt or restored its database): the handler has done the rest of the delivery, and the
// bus asks Resume again for the partitions at, dropping what it had read ahead of them.
func Reread(at ...Position) error {
	if len(at) == 0 {
		return nil
	}
	return &rereadError{at}
}

// RereadPositions returns the positions given to [Reread] in err or in an error that it wraps.
func RereadPositions(err error) (at []Position, ok bool) {
	var r *rereadError
	if !errors.As(err, &r) {
		return nil, false
	}
	return r.at, true
}

type rereadError struct{ at []Position }

func (e *rereadError) Error() string {
	return fmt.Sprintf("bus: the reader's positions have moved in %d partitions; they are read again", len(e.at))
}
