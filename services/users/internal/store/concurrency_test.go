package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// together calls fn from n goroutines, and waits for all.
func together(n int, fn func(i int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			fn(i)
		})
	}
	close(begin)
	all.Wait()
}

func TestOfManyWhoWantOneAddressOneGetsItAndTheOthersLearnWho(t *testing.T) {
	f := open(t, nil)
	var won atomic.Pointer[store.User]
	holders := make([]string, 64)
	together(64, func(i int) {
		u, err := f.Create(t.Context(), named([]string{"ada@x.org", "ADA@x.org", "Ada@X.ORG"}[i%3], fmt.Sprint(i)))
		var inUse *store.InUseError
		switch {
		case err == nil:
			if !won.CompareAndSwap(nil, &u) {
				t.Error("two got the address")
			}
		case errors.As(err, &inUse):
			holders[i] = inUse.ID
		default:
			t.Error(err)
		}
	})
	winner := won.Load()
	if winner == nil {
		t.Fatal("nobody got the address")
	}
	for i, id := range holders {
		if id != winner.ID && winner.Name != fmt.Sprint(i) {
			t.Errorf("writer %d was told that %q holds the address; it is %s", i, id, winner.ID)
		}
	}
}

func TestOfManyChangesAtOneVersionOneIsMade(t *testing.T) {
	f := open(t, nil)
	u := f.created("ada@example.org", "Ada")
	for version := uint64(1); version <= 10; version++ {
		var made atomic.Int64
		together(32, func(i int) {
			_, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr(fmt.Sprint(version, i))}, at(version))
			var refused *store.PreconditionError
			switch {
			case err == nil:
				made.Add(1)
			case !errors.As(err, &refused) || refused.Version != version+1:
				t.Error(err)
			}
		})
		if made.Load() != 1 {
			t.Errorf("at version %d, %d changes were made", version, made.Load())
		}
	}
}

func TestChangesWithoutAPreconditionAllGetAVersionOfTheirOwn(t *testing.T) {
	f := open(t, nil)
	u := f.created("ada@example.org", "Ada")
	var seen sync.Map
	together(200, func(i int) {
		got, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr(fmt.Sprint(i))}, nil)
		if err != nil {
			t.Error(err)
		}
		if _, twice := seen.LoadOrStore(got.Version, true); twice || got.Name != fmt.Sprint(i) {
			t.Errorf("version %d was given twice, or to another: %v", got.Version, got)
		}
	})
	checkHistory(t, f)
}

// TestWhateverHappensEventsTellTheHistoryOfTheRows lets many write what they like, and compares.
func TestWhateverHappensEventsTellTheHistoryOfTheRows(t *testing.T) {
	f := open(t, nil)
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = f.created(fmt.Sprintf("%d@example.org", i), "A").ID
	}
	together(16, func(i int) {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		for range 60 {
			if err := anyWrite(t.Context(), f.Store, r, ids); err != nil {
				t.Error(err)
			}
		}
	})
	checkHistory(t, f)
}

// anyWrite makes some write; that it is refused is no error.
func anyWrite(ctx context.Context, s *store.Store, r *rand.Rand, ids []string) (err error) {
	email, id := fmt.Sprintf("%d@example.org", r.IntN(40)), ids[r.IntN(len(ids))]
	var when *store.Precondition
	if r.IntN(3) == 0 {
		when = at(r.Uint64N(8), r.Uint64N(8))
	}
	switch r.IntN(12) {
	case 8:
		_, err = s.Update(ctx, id, store.Change{Parts: &store.Parts{Given: fmt.Sprint(r.IntN(3)), Family: []string{"", "A"}[r.IntN(2)]}}, when)
	case 9:
		_, err = s.Update(ctx, id, store.Change{Phone: ptr([]string{"", "+41443643232"}[r.IntN(2)]), DisplayName: &email, Locale: ptr("de")}, when)
	case 10:
		_, err = s.Create(ctx, full(email))
	case 0:
		_, err = s.Create(ctx, named(email, "New"))
	case 1:
		_, err = s.Delete(ctx, id, when)
	case 2, 3:
		_, err = s.Update(ctx, id, store.Change{Email: &email}, when)
	default:
		_, err = s.Update(ctx, id, store.Change{Name: ptr(fmt.Sprint(r.IntN(3)))}, when)
	}
	var inUse *store.InUseError
	var precondition *store.PreconditionError
	if errors.As(err, &inUse) || errors.As(err, &precondition) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// checkHistory checks that the events of each user are 1 to n without a gap, that the last one says what the row says,
// and that the totals are those of the rows.
func checkHistory(t *testing.T, f *fixture) {
	t.Helper()
	last := make(map[string]bus.Event)
	for _, e := range f.published() {
		if want := last[e.Key].Version + 1; e.Version != want {
			t.Errorf("user %s: version %d where %d comes next", e.Key, e.Version, want)
		}
		last[e.Key] = e
	}
	var sum uint64
	var live int64
	for id, e := range last {
		u := f.row(id)
		if sum += u.Version; !u.Deleted() {
			live++
		}
		if told := state(t, e); told.GetVersion() != u.Version || told.GetEmail() != u.Email || told.GetName() != u.Name ||
			told.GetDisplayName() != u.DisplayName || told.GetLocale() != u.Locale || told.GetPhone() != u.Phone || (e.Type == "users.events.v1.UserDeleted") != u.Deleted() {
			t.Errorf("the last event of %s tells of %v, and the row is %+v", id, told, u)
		}
	}
	totals, err := f.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if totals.Versions != sum || totals.Live != live || totals.Live+totals.Deleted != int64(len(last)) {
		t.Errorf("totals are %+v; by the events there are %d users, %d alive, %d versions", totals, len(last), live, sum)
	}
	var rows, alive, versions int64
	if err := f.db.QueryRow(`SELECT count(*), count(email), sum(version) FROM users`).Scan(&rows, &alive, &versions); err != nil {
		t.Fatal(err)
	}
	if rows != totals.Live+totals.Deleted || alive != totals.Live || uint64(versions) != totals.Versions {
		t.Errorf("totals are %+v; counted, there are %d rows, %d alive, %d versions", totals, rows, alive, versions)
	}
}

// state is what an event says of the user; of a deleted one, its version.
func state(t *testing.T, e bus.Event) *eventsv1.User {
	t.Helper()
	var u *eventsv1.User
	switch e.Type {
	case "users.events.v1.UserCreated":
		m, err := bus.Decode[*eventsv1.UserCreated](e)
		if err != nil {
			t.Fatal(err)
		}
		u = m.GetUser()
	case "users.events.v1.UserUpdated":
		m, err := bus.Decode[*eventsv1.UserUpdated](e)
		if err != nil {
			t.Fatal(err)
		}
		u = m.GetUser()
	case "users.events.v1.UserDeleted":
		m, err := bus.Decode[*eventsv1.UserDeleted](e)
		if err != nil {
			t.Fatal(err)
		}
		u = &eventsv1.User{Id: m.GetId(), Version: m.GetVersion()}
	default:
		t.Fatalf("an event of type %s", e.Type)
	}
	return u
}
