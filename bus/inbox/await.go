package inbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// States of a [NotAppliedError].
const (
	Behind = "behind" // the version has not come yet, or waits for earlier ones
	Parked = "parked" // the version came, and its handler could not take it
)

// NotAppliedError says that a version was not applied in time.
type NotAppliedError struct {
	Source, Key string
	Have        uint64 // the last version that is applied; 0 without one
	Want        uint64
	State       string // Behind or Parked
	Err         error  // the context's
}

// Error names what is there and what was wanted.
func (e *NotAppliedError) Error() string {
	return fmt.Sprintf("inbox: key %q of %s: version %d is not applied (%s; have %d): %v", e.Key, e.Source, e.Want, e.State, e.Have, e.Err)
}

// Unwrap returns the context's error.
func (e *NotAppliedError) Unwrap() error { return e.Err }

// pollEvery is how often Await looks at the database. Wakes come at once from this process's own commits; only those
// of another replica are found by looking.
const pollEvery = 50 * time.Millisecond

// lastLook is how long Await may go on after its context has ended, to say what is there.
const lastLook = 250 * time.Millisecond

// Await returns nil once this database has applied version of key, so that a service can let its caller read what
// the caller wrote elsewhere. A projection that has applied a later version has applied this one; a history must have
// applied this very one. It works while Run does not, too. When ctx ends first it returns a *[NotAppliedError]; a
// fault of the database is returned as it is.
func (in *Inbox) Await(ctx context.Context, source, key string, version uint64) error {
	var wake chan struct{}
	for {
		applied, state, err := in.applied(ctx, source, key, version)
		switch {
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("inbox: await version %d of key %q: %w", version, key, err)
		case err == nil && state == "":
			return nil
		case ctx.Err() != nil:
			return &NotAppliedError{source, key, applied, version, orDefault(state, Behind), context.Cause(ctx)}
		}
		if wake == nil {
			// From here on no commit goes unheard; one before it is seen by looking once more.
			wake = in.waiters.add(source, key)
			defer in.waiters.remove(source, key, wake)
			continue
		}
		wait(ctx, pollEvery, wake)
	}
}

// applied returns the last version of key that is applied, and why version is not; state is "" where it is. It reads
// what is committed, through the pool, beside whatever is being written.
func (in *Inbox) applied(ctx context.Context, source, key string, version uint64) (applied uint64, state string, err error) {
	// The end of ctx must not keep the state from the caller, who is to be told of it; a server that does not answer must.
	if in.writer.Dialect() == sqldb.Postgres {
		longer, cancel := outlive(ctx, lastLook)
		defer cancel()
		ctx = longer
	} else {
		ctx = context.WithoutCancel(ctx) // it takes microseconds, and a context that can end costs a goroutine
	}
	applied, mark, err := have(ctx, in.cfg.DB, in.cfg.Group, source, key)
	switch {
	case err != nil || mark < version:
		return applied, Behind, err
	case in.every:
		state, err = in.appliedItself(ctx, source, key, version)
		return applied, state, err
	case applied < version:
		return applied, Parked, nil
	}
	return applied, "", nil
}

// appliedItself says of a version at or below the mark whether it is parked, or in a hole.
func (in *Inbox) appliedItself(ctx context.Context, source, key string, version uint64) (state string, err error) {
	const text = `SELECT
		EXISTS (SELECT 1 FROM tidings_inbox_parked WHERE grp = $1 AND source = $2 AND key = $3 AND version = $4 AND reaction = 0),
		EXISTS (SELECT 1 FROM tidings_inbox_hole h JOIN tidings_inbox_source s ON s.id = h.source
			WHERE s.grp = $1 AND s.source = $2 AND h.key = $3 AND h.first <= $4 AND $4 <= h.last)`
	var parked, hole bool
	err = in.cfg.DB.QueryRowContext(ctx, text, in.cfg.Group, source, key, int64(version)).Scan(&parked, &hole)
	switch {
	case parked:
		return Parked, err
	case hole:
		return Behind, err
	}
	return "", err
}

// waiters are those in Await, by what they wait for. Only who waits for a key that was applied is woken: a thousand
// waiters must not look at the database a thousand times for every commit.
type waiters struct {
	mu   sync.Mutex
	keys map[waiterKey][]chan struct{}
}

type waiterKey struct{ source, key string }

func (w *waiters) add(source, key string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys == nil {
		w.keys = make(map[waiterKey][]chan struct{})
	}
	c := make(chan struct{}, 1)
	k := waiterKey{source, key}
	w.keys[k] = append(w.keys[k], c)
	return c
}

func (w *waiters) remove(source, key string, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := waiterKey{source, key}
	rest := w.keys[k][:0]
	for _, other := range w.keys[k] {
		if other != c {
			rest = append(rest, other)
		}
	}
	if w.keys[k] = rest; len(rest) == 0 {
		delete(w.keys, k)
	}
}

// wake wakes those who wait for a key that an attempt has applied.
func (w *waiters) wake(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.keys) == 0 {
		return // the rule, and it must cost nothing
	}
	for i := range a.todo {
		for _, c := range w.keys[waiterKey{a.todo[i].ev.Source, a.todo[i].ev.Key}] {
			poke(c)
		}
	}
}
