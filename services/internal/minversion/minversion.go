// Package minversion is the rule for reads that name a version: wait until this database has applied it, a little
// less long than the caller does, and else say how far it is.
package minversion

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/rpcerr"
)

const (
	// Longest is how long a read waits at most, whatever the caller's deadline is.
	Longest = 5 * time.Second
	// Margin is how long before the caller's deadline the answer is given. The details of an error that is
	// answered at the deadline don't arrive: the caller's side has given up by then.
	Margin = 50 * time.Millisecond
	// pollEvery is the time between two looks of [Poll].
	pollEvery = 20 * time.Millisecond
)

// Awaiter waits until its database has applied the version of (source, key). It looks first, and when ctx ends,
// even before that look, it returns a *[inbox.NotAppliedError]. *[inbox.Inbox] is one.
type Awaiter interface {
	Await(ctx context.Context, source, key string, version uint64) error
}

// Await returns nil once in's database has applied version want of (source, key), at once where want is 0. It waits
// until Margin before ctx's deadline, at most Longest, and then returns the ABORTED error of
// [rpcerr.VersionNotApplied]. A version that is there already costs one query.
//
// gone, unless nil, reports whether the key was deleted, as far as this database knows: no version follows the one
// that deletes, so a deleted key is not waited for. It is asked only where want is not there and earlier ones are.
//
// Faults of the database are returned as they are.
func Await(ctx context.Context, in Awaiter, source, key string, want uint64, gone func(ctx context.Context) (bool, error)) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	look := func(ctx context.Context) (reading, error) {
		r, err := read(in.Await(ended, source, key, want))
		if err == nil && !r.applied && r.have > 0 && gone != nil {
			r.deleted, err = gone(ctx)
		}
		return r, err
	}
	return wait(ctx, source, want, look, func(ctx context.Context) error { return in.Await(ctx, source, key, want) })
}

// read makes a reading of what an Awaiter has answered.
func read(err error) (reading, error) {
	var behind *inbox.NotAppliedError
	switch {
	case err == nil:
		return reading{applied: true}, nil
	case errors.As(err, &behind):
		return reading{have: behind.Have, state: rpcerr.State(behind.State)}, nil
	}
	return reading{}, err
}

// Applied is how far a database is with a key.
type Applied struct {
	Version uint64 // the last version that it holds; 0 for none
	// State says why it holds no later one: rpcerr.Deleted where that version has deleted the key, else
	// rpcerr.Behind or "", which is the same.
	State rpcerr.State
}

// Look answers at once how far this database is with the key in question.
type Look func(ctx context.Context) (Applied, error)

// Poll is [Await] for a database without an inbox, the owner's own: it asks look, at first and then every 20 ms.
func Poll(ctx context.Context, source string, want uint64, look Look) error {
	at := func(ctx context.Context) (reading, error) {
		a, err := look(ctx)
		r := reading{have: a.Version, applied: a.Version >= want, deleted: a.State == rpcerr.Deleted, state: a.State}
		if r.state == "" {
			r.state = rpcerr.Behind
		}
		return r, err
	}
	return wait(ctx, source, want, at, func(ctx context.Context) error {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
			if r, err := at(ctx); err != nil || r.applied || r.deleted {
				return err
			}
		}
	})
}

// reading is how a database stands with the version that is wanted.
type reading struct {
	applied bool
	have    uint64
	state   rpcerr.State
	deleted bool
}

// wait looks, waits by await where there is time, and looks again.
func wait(ctx context.Context, source string, want uint64, look func(context.Context) (reading, error), await func(context.Context) error) error {
	if want == 0 {
		return nil
	}
	r, err := look(ctx)
	if err == nil && !r.applied && !r.deleted {
		if err = within(ctx, await); err == nil {
			r, err = look(ctx)
		}
	}
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case err != nil:
		return err
	case r.applied:
		return nil
	case r.deleted:
		r.state = rpcerr.Deleted
	}
	return rpcerr.VersionNotApplied(rpcerr.NotApplied{Source: source, Have: r.have, Want: want, State: r.state})
}

// within calls await with the time that there is. That the time was up is no error, nor is what that has made of a
// statement: the look after it tells of a database that is at fault.
func within(ctx context.Context, await func(context.Context) error) error {
	limit := Longest
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-Margin)
	}
	if limit <= 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := await(waiting); waiting.Err() == nil {
		return err
	}
	return nil
}
