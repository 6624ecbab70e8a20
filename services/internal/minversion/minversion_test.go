package minversion_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/minversion"
	"github.com/tidings-dev/tidings/services/internal/rpcerr"
)

// key is a database's row: its version, and a wake for who waits.
type key struct {
	version atomic.Uint64
	state   string
	deleted bool
	looks   atomic.Int64
	applied chan struct{}
}

func newKey(version uint64) *key {
	k := &key{applied: make(chan struct{}), state: inbox.Behind}
	k.version.Store(version)
	return k
}

func (k *key) apply(version uint64) {
	k.version.Store(version)
	close(k.applied)
}

// look is what the owner asks its own table.
func (k *key) look(context.Context) (minversion.Applied, error) {
	k.looks.Add(1)
	at := minversion.Applied{Version: k.version.Load()}
	if k.deleted {
		at.State = rpcerr.Deleted
	}
	return at, nil
}

func (k *key) gone(context.Context) (bool, error) { return k.deleted, nil }

// Await answers as an inbox does.
func (k *key) Await(ctx context.Context, source, name string, version uint64) error {
	if source != "/users" {
		return errors.New("unknown source")
	}
	k.looks.Add(1)
	for k.version.Load() < version {
		select {
		case <-ctx.Done():
			return &inbox.NotAppliedError{
				Source: source, Key: name, Have: k.version.Load(), Want: version, State: k.state, Err: ctx.Err(),
			}
		case <-k.applied:
		}
	}
	return nil
}

// both runs a test with an inbox and with the owner's polling, in a bubble where time is exact.
func both(t *testing.T, test func(t *testing.T, k *key, read func(ctx context.Context, want uint64) error)) {
	t.Run("inbox", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKey(2)
			test(t, k, func(ctx context.Context, want uint64) error {
				return minversion.Await(ctx, k, "/users", "k", want, k.gone)
			})
		})
	})
	t.Run("poll", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKey(2)
			test(t, k, func(ctx context.Context, want uint64) error {
				return minversion.Poll(ctx, "/users", want, k.look)
			})
		})
	})
}

// notApplied checks that err is the ABORTED error with these details.
func notApplied(t *testing.T, err error, have, want, state string) {
	t.Helper()
	st, _ := status.FromError(err)
	if st.Code() != codes.Aborted || len(st.Details()) != 1 {
		t.Fatalf("got %v, want ABORTED with details", err)
	}
	info, ok := st.Details()[0].(*errdetails.ErrorInfo)
	if !ok || info.GetReason() != "VERSION_NOT_APPLIED" || info.GetDomain() != "tidings" {
		t.Fatalf("details %v", st.Details())
	}
	m := info.GetMetadata()
	if m["have"] != have || m["want"] != want || m["state"] != state || m["source"] != "/users" {
		t.Errorf("metadata %v, want have %s, want %s, state %s", m, have, want, state)
	}
}

func TestAVersionThatIsThereIsNotWaitedFor(t *testing.T) {
	both(t, func(t *testing.T, k *key, read func(context.Context, uint64) error) {
		began := time.Now()
		for want := range uint64(3) {
			if err := read(t.Context(), want); err != nil {
				t.Errorf("version %d: %v", want, err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		if n := k.looks.Load(); n != 2 {
			t.Errorf("looked %d times, want once for each version but 0", n)
		}
	})
}

func TestAVersionThatComesIsWaitedFor(t *testing.T) {
	both(t, func(t *testing.T, k *key, read func(context.Context, uint64) error) {
		began := time.Now()
		go func() {
			time.Sleep(time.Second) // in the bubble: exact, and takes no time
			k.apply(3)
		}()
		if err := read(t.Context(), 3); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < time.Second || took > time.Second+20*time.Millisecond {
			t.Errorf("it took %v, want 1 s", took)
		}
	})
}

func TestTheAnswerComesBeforeTheDeadline(t *testing.T) {
	for deadline, wait := range map[time.Duration]time.Duration{
		40 * time.Millisecond: 0, // no time to wait at all
		time.Second:           950 * time.Millisecond,
		time.Minute:           5 * time.Second,
		0:                     5 * time.Second, // none
	} {
		both(t, func(t *testing.T, _ *key, read func(context.Context, uint64) error) {
			ctx, began := t.Context(), time.Now()
			if deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, deadline)
				defer cancel()
			}
			err := read(ctx, 3)
			notApplied(t, err, "2", "3", "behind")
			if took := time.Since(began); took != wait {
				t.Errorf("deadline %v: answered after %v, want %v", deadline, took, wait)
			}
		})
	}
}

func TestAVersionThatIsParkedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(2)
		k.state = inbox.Parked
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		notApplied(t, minversion.Await(ctx, k, "/users", "k", 7, nil), "2", "7", "parked")
	})
}

func TestAKeyThatWasDeletedIsNotWaitedFor(t *testing.T) {
	both(t, func(t *testing.T, k *key, read func(context.Context, uint64) error) {
		k.deleted = true
		began := time.Now()
		notApplied(t, read(t.Context(), 3), "2", "3", "deleted")
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		if err := read(t.Context(), 2); err != nil {
			t.Errorf("the version of the deletion itself: %v", err)
		}
	})
}

func TestACallerWhoGoesAwayIsToldSo(t *testing.T) {
	both(t, func(t *testing.T, _ *key, read func(context.Context, uint64) error) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := read(ctx, 3); status.Code(err) != codes.Canceled {
			t.Errorf("got %v, want CANCELLED", err)
		}
	})
}

func TestOtherErrorsArePassedOn(t *testing.T) {
	broken := errors.New("broken")
	bad := func(context.Context) (minversion.Applied, error) { return minversion.Applied{}, broken }
	if err := minversion.Poll(t.Context(), "/users", 1, bad); !errors.Is(err, broken) {
		t.Errorf("look: %v", err)
	}
	k := newKey(1)
	err := minversion.Await(t.Context(), k, "/other", "k", 1, nil)
	if err == nil || err.Error() != "unknown source" {
		t.Errorf("inbox: %v", err)
	}
	err = minversion.Await(t.Context(), k, "/users", "k", 2, func(context.Context) (bool, error) { return false, broken })
	if !errors.Is(err, broken) {
		t.Errorf("gone: %v", err)
	}
}

// On Postgres a statement that is under way when the time is up fails with an error that says nothing of contexts. The
// caller is to hear how far the database is all the same.
func TestAStatementThatIsCutShortIsNoFaultOfTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		look := func(ctx context.Context) (minversion.Applied, error) {
			if first {
				first = false
				return minversion.Applied{Version: 2}, nil
			}
			if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < minversion.Longest {
				<-ctx.Done()
				return minversion.Applied{}, errors.New("canceling statement due to user request (SQLSTATE 57014)")
			}
			return minversion.Applied{Version: 2}, nil
		}
		notApplied(t, minversion.Poll(t.Context(), "/users", 3, look), "2", "3", "behind")
	})
}
