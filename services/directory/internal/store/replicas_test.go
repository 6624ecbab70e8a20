package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// tryApply applies people in one transaction, and says what went wrong.
func (f *fixture) tryApply(ctx context.Context, people []store.Person) error {
	tx, err := f.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f.Apply(ctx, tx, people); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// anyPeople are changes of up to 40 people of whom nobody else's prefix is.
func anyPeople(r *rand.Rand, prefix string, version uint64) []store.Person {
	people := make([]store.Person, 40)
	for i := range people {
		id := fmt.Sprintf("%s-%03d", prefix, r.IntN(60))
		people[i] = person(id, version, id+"@example.org", fmt.Sprintf("Name%d Of%d", r.IntN(9), version))
		if r.IntN(4) == 0 {
			people[i] = deleted(id, version)
		}
	}
	return people
}

// Replicas have people of their own, by partitions; what they share are the counts.
func TestReplicasWithPeopleOfTheirOwnNeverDisturbOneAnother(t *testing.T) {
	servicetest.PostgresOnly(t, "writers wait for one another on SQLite")
	f := open(t)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(i)))
			for version := uint64(1); version <= 15; version++ {
				if err := f.tryApply(t.Context(), anyPeople(r, fmt.Sprint("replica", i), version)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	f.check()
}

// A replica that lost a partition without knowing it may still apply what another one applies, and meets it at people
// who are new to both. One of the two is told to try again; nobody is there twice, or found by what is gone.
func TestReplicasThatApplyTheSamePeopleAgreeInTheEnd(t *testing.T) {
	servicetest.PostgresOnly(t, "writers wait for one another on SQLite")
	f := open(t)
	newest := make(map[string]uint64)
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(4, uint64(i)))
			for version := uint64(1); version <= 15; {
				people := anyPeople(r, "shared", version)
				switch err := f.tryApply(t.Context(), people); {
				case database.IsUnavailable(err):
					continue // once more, with others
				case err != nil:
					t.Error(err)
					return
				}
				mu.Lock()
				for _, p := range people {
					newest[p.ID] = max(newest[p.ID], version)
				}
				mu.Unlock()
				version++
			}
		})
	}
	all.Wait()
	f.check()
	for id, version := range newest {
		if p, err := f.Get(t.Context(), id); err != nil || p.Version != version {
			t.Errorf("%s is at version %d (%v), want %d", id, p.Version, err, version)
		}
	}
}

func TestWhoIsNewToTwoReplicasAtOnceIsStoredOnce(t *testing.T) {
	servicetest.PostgresOnly(t, "writers wait for one another on SQLite")
	f := open(t)
	first, err := f.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Rollback()
	ada := person("ada", 1, "ada@example.org", "Ada Byron")
	if err := f.Apply(t.Context(), first, []store.Person{ada}); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		second <- f.tryApply(t.Context(), []store.Person{person("ada", 2, "ada@example.org", "Ada Lovelace")})
	}()
	servicetest.Await(t, servicetest.Soon, 5*time.Millisecond, "the second waits for the first", func() (bool, any) {
		var waiting int
		err := f.db.QueryRow(`SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'
			AND pid IN (SELECT pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relnamespace = current_schema()::regnamespace)`).Scan(&waiting)
		return waiting > 0, err
	})
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-second; !database.IsUnavailable(err) {
		t.Errorf("the second is told %v, want to try again", err)
	}
	f.check()
	f.apply(person("ada", 2, "ada@example.org", "Ada Lovelace"))
	if got := f.search("ada") + f.search("byron"); got != "Ada Lovelace" {
		t.Errorf("found %q", got)
	}
}
