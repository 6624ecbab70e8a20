package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// Two replicas write what they like, to the same users, and the events are those of one history.
func TestReplicasThatShareADatabaseMakeOneHistory(t *testing.T) {
	servicetest.PostgresOnly(t, "a SQLite file has one process")
	dsn := servicetest.DSN(t, "users")
	f := openOn(t, dsn, nil)
	replicas := []*fixture{f, openOn(t, dsn, nil)}
	ids := make([]string, 6)
	for i := range ids {
		ids[i] = f.created(fmt.Sprintf("%d@example.org", i), "A").ID
	}
	together(12, func(i int) {
		r := rand.New(rand.NewPCG(2, uint64(i)))
		for range 40 {
			if err := anyWrite(t.Context(), replicas[i%2].Store, r, ids); err != nil {
				t.Error(err)
			}
		}
	})
	checkHistory(t, f)
}

func TestAnAddressThatTwoReplicasGiveAtOnceGoesToOneUser(t *testing.T) {
	servicetest.PostgresOnly(t, "a SQLite file has one process")
	dsn := servicetest.DSN(t, "users")
	replicas := []*fixture{openOn(t, dsn, nil), openOn(t, dsn, nil)}
	for round := range 20 {
		address := fmt.Sprintf("round%d@example.org", round)
		users := []store.User{replicas[0].created(fmt.Sprint("a", address), "A"), replicas[1].created(fmt.Sprint("b", address), "B")}
		errs := make([]error, 2)
		together(2, func(i int) {
			_, errs[i] = replicas[i].Update(t.Context(), users[i].ID, store.Change{Email: &address}, nil)
		})
		for i, err := range errs {
			var inUse *store.InUseError
			if err != nil && (!errors.As(err, &inUse) || inUse.ID != users[1-i].ID || errs[1-i] != nil) {
				t.Errorf("round %d: %v", round, errs)
			}
		}
		if errs[0] == nil && errs[1] == nil {
			t.Fatalf("round %d: both have the address", round)
		}
	}
	checkHistory(t, replicas[0])
}

// behindProxy is a store behind a proxy, and another one that goes straight to the same database.
func behindProxy(t *testing.T) (f, direct *fixture, p *servicetest.Proxy) {
	t.Helper()
	servicetest.PostgresOnly(t, "there is no connection to be cut")
	s := servicetest.NewSchema(t, "users")
	p = servicetest.NewProxy(t, s)
	return openOn(t, p.DSN, nil), openOn(t, s.DSN, nil), p
}

// A write whose commit is in doubt is answered as what it is, whichever way it went, and is made once.
func TestACommitThatIsCutOffIsAnsweredByWhatBecameOfIt(t *testing.T) {
	for name, cut := range map[string]servicetest.Cut{"before": servicetest.BeforeCommit, "after": servicetest.AfterCommit} {
		t.Run(name, func(t *testing.T) {
			f, direct, p := behindProxy(t)
			p.Break(cut, 1, nil)
			u := f.created("ada@example.org", "Ada")
			if got := direct.row(u.ID); got != u {
				t.Errorf("created as %+v, it is %+v", u, got)
			}
			p.Break(cut, 1, nil)
			changed, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr("Countess")}, at(1))
			if err != nil || changed.Version != 2 || direct.row(u.ID) != changed {
				t.Errorf("changed to %+v (%v), it is %+v", changed, err, direct.row(u.ID))
			}
			p.Break(cut, 1, nil)
			if version, err := f.Delete(t.Context(), u.ID, at(2)); err != nil || version != 3 {
				t.Errorf("deleted at %d (%v)", version, err)
			}
			if p.Left() != 0 {
				t.Fatal("nothing was cut")
			}
			if n := len(direct.published()); n != 3 {
				t.Errorf("%d events, want 3", n)
			}
		})
	}
}

// Where somebody else has gone on from the version that may be ours, nobody can say any more whether it is.
func TestAChangeInDoubtThatOthersWentOnFromStaysUnknown(t *testing.T) {
	f, direct, p := behindProxy(t)
	u := f.created("ada@example.org", "Ada")
	p.Break(servicetest.AfterCommit, 1, func() {
		if _, err := direct.Update(context.Background(), u.ID, store.Change{Name: ptr("Other")}, nil); err != nil {
			t.Error(err)
		}
	})
	_, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr("Countess")}, nil)
	var unknown *store.UnknownError
	if !errors.As(err, &unknown) || unknown.ID != u.ID {
		t.Errorf("it is answered %v", err)
	}
	if got := direct.row(u.ID); got.Version != 3 || got.Name != "Other" {
		t.Errorf("the row is %+v", got)
	}
}

// If it was others who took the version, the change was not stored, and is made on top of theirs, or refused.
func TestAChangeThatNeverArrivedIsMadeOnTopOfOthers(t *testing.T) {
	f, direct, p := behindProxy(t)
	u := f.created("ada@example.org", "Ada")
	other := func() {
		if _, err := direct.Update(context.Background(), u.ID, store.Change{Email: ptr("new@example.org")}, nil); err != nil {
			t.Error(err)
		}
	}
	// The server drops the row's lock when it notices the cut, for which the other one waits.
	done := make(chan struct{})
	p.Break(servicetest.BeforeCommit, 1, func() { go func() { defer close(done); other() }() })
	got, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr("Countess")}, nil)
	<-done
	if err != nil || direct.row(u.ID).Version != 3 || direct.row(u.ID).Name != "Countess" || got.Name != "Countess" {
		t.Errorf("%+v (%v), and the row is %+v", got, err, direct.row(u.ID))
	}
	checkHistory(t, direct)
}

// As long as nothing can be found out, the answer is that it is unknown; and who asks again learns it.
func TestAWriteThatNobodyCanTellOfIsUnknownAndFoundWhenItIsSentAgain(t *testing.T) {
	f, direct, p := behindProxy(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	p.Break(servicetest.AfterCommit, 1000, nil)
	_, err := f.Create(ctx, named("ada@example.org", "Ada"))
	var unknown *store.UnknownError
	if !errors.As(err, &unknown) || unavailable(&store.InUseError{}) {
		t.Fatalf("it is answered %v", err)
	}
	p.Break(servicetest.AfterCommit, 0, nil)
	var inUse *store.InUseError
	if _, err := f.Create(t.Context(), named("ADA@example.org", "Ada")); !errors.As(err, &inUse) || inUse.ID != unknown.ID {
		t.Errorf("sent again: %v, want that %s has the address", err, unknown.ID)
	}
	if n := len(direct.published()); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}
