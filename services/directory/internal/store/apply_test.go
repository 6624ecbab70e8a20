package store_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/directory/internal/store"
)

func TestAPersonIsWhatTheNewestVersionSays(t *testing.T) {
	f := open(t)
	f.apply(person("ada", 1, "ada@example.org", "Ada Byron"), person("alan", 1, "alan@example.org", "Alan Turing"))
	f.apply(person("ada", 2, "ada@example.org", "Ada King"), person("ada", 3, "ada@example.org", "Ada Lovelace"))
	want := person("ada", 3, "ada@example.org", "Ada Lovelace")
	got, err := f.Get(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for query, want := range map[string]string{
		"ada": "Ada Lovelace", "byron": "", "king": "", "love": "Ada Lovelace", "al": "Alan Turing",
	} {
		if got := f.search(query); got != want {
			t.Errorf("%q finds %q, want %q", query, got, want)
		}
	}
	if n := f.count(); n != 2 {
		t.Errorf("%d people, want 2", n)
	}
}

func TestAnOlderVersionChangesNothing(t *testing.T) {
	f := open(t)
	f.apply(person("ada", 3, "ada@example.org", "Ada Lovelace"))
	f.apply(person("ada", 2, "old@example.org", "Ada King"))
	f.apply(deleted("ada", 1))
	if got := f.search("ada") + f.search("old"); got != "Ada Lovelace" {
		t.Errorf("found %q", got)
	}
	// The same version again, as after a restart in the middle, changes nothing either.
	f.apply(person("ada", 3, "ada@example.org", "Ada Lovelace"))
	if n := f.count(); n != 1 {
		t.Errorf("%d people, want 1", n)
	}
}

func TestADeletedPersonLeavesIDAndVersionOnly(t *testing.T) {
	f := open(t)
	f.apply(person("ada", 1, "ada@example.org", "Ada Lovelace"), person("alan", 1, "alan@example.org", "Alan Turing"))
	f.apply(deleted("ada", 2))
	got, err := f.Get(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(deleted("ada", 2), got); diff != "" {
		t.Error(diff)
	}
	if got := f.search("a"); got != "Alan Turing" {
		t.Errorf("found %q", got)
	}
	if got := f.holders("ada@example.org"); got != "" {
		t.Errorf("held by %q", got)
	}
	var left string
	err = f.db.QueryRowContext(t.Context(), `SELECT email || name || terms FROM people WHERE id = 'ada'`).Scan(&left)
	if err != nil || left != "" {
		t.Errorf("the row still says %q (%v)", left, err)
	}
}

func TestCreatedAndDeletedInOneBatchIsDeleted(t *testing.T) {
	f := open(t)
	f.apply(person("ada", 1, "ada@example.org", "Ada"), deleted("ada", 2), person("alan", 1, "alan@example.org", "Alan"))
	if n := f.count(); n != 1 || f.search("a") != "Alan" {
		t.Errorf("%d people; %q", n, f.search("a"))
	}
	// Never so by the users service, for an id is never used again; but a projection believes the newest event.
	f.apply(person("ada", 3, "ada@example.org", "Ada"))
	if n := f.count(); n != 2 || f.search("ada") != "Ada" {
		t.Errorf("%d people; %q", n, f.search("ada"))
	}
	f.apply(deleted("nobody", 7))
	if n := f.count(); n != 2 {
		t.Errorf("%d people after the deletion of one who was never there", n)
	}
}

func TestSomebodyWhoWasNeverHeardOfIsNotFound(t *testing.T) {
	f := open(t)
	if _, err := f.Get(t.Context(), "ada"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	f.apply()
	if n := f.count(); n != 0 {
		t.Errorf("%d people in an empty directory", n)
	}
}

// One user gives an address up, another takes it. The events come from two partitions, so in either order.
func TestAFreedAddressCanBeTakenBeforeItIsFreed(t *testing.T) {
	was, is := "shared@example.org", "Shared@Example.org"
	first := []store.Person{person("ada", 1, was, "Ada"), person("alan", 1, "alan@example.org", "Alan")}
	frees := person("ada", 2, "ada@example.org", "Ada")
	takes := person("alan", 3, is, "Alan")
	for name, order := range map[string][]store.Person{"freed first": {frees, takes}, "taken first": {takes, frees}} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			f.apply(first...)
			f.apply(order[0])
			if name == "taken first" && f.holders(was) != "alan, ada" {
				t.Errorf("meanwhile held by %q, want both, the newest first", f.holders(was))
			}
			f.apply(order[1])
			if got := f.holders(was); got != "alan" {
				t.Errorf("held by %q, want alan", got)
			}
			if got := f.search("shared"); got != "Alan" {
				t.Errorf("found %q", got)
			}
		})
	}
}

func TestHoldersComeByTheLatestUpdate(t *testing.T) {
	f := open(t)
	for _, id := range []string{"c", "a", "e", "b", "d"} {
		f.apply(person(id, 1, "one@example.org", strings.ToUpper(id)))
	}
	f.apply(person("b", 4, "ONE@example.org", "B"), person("d", 2, "one@example.org", "D"))
	// Neither the address itself, though they are found by the same term.
	f.apply(person("word", 1, "word@example.org", "one@example.org"), person("wide", 1, "ｏｎｅ@example.org", "Wide"))
	if got, want := f.holders(" One@Example.ORG "), "b, d, e, c, a"; got != want {
		t.Errorf("held by %q, want %q", got, want)
	}
	if got := f.holders("ｏｎｅ@example.org"); got != "wide" {
		t.Errorf("the wide address is held by %q", got)
	}
	f.apply(store.Person{ID: "f", Version: 1, Email: "one@example.org", Name: "F"}) // without times
	if got, want := f.holders("one@example.org"), "b, d, e, c, a, f"; got != want {
		t.Errorf("held by %q, want %q", got, want)
	}
}

func TestTimesAreKeptToTheNanosecond(t *testing.T) {
	f := open(t)
	for id, at := range map[string]time.Time{
		"usual":    day,
		"none":     {},
		"epoch":    time.Unix(0, 0).UTC(),
		"earliest": time.Unix(0, math.MinInt64).UTC(),
		"latest":   time.Unix(0, math.MaxInt64).UTC(),
	} {
		p := person(id, 1, id+"@example.org", id)
		p.CreateTime, p.UpdateTime = at, at
		f.apply(p)
		if got, err := f.Get(t.Context(), id); err != nil || !got.CreateTime.Equal(at) || !got.UpdateTime.Equal(at) {
			t.Errorf("%s: %v became %v, %v (%v)", id, at, got.CreateTime, got.UpdateTime, err)
		}
	}
	// What a Timestamp can say and a column can't is moved to the nearest that it can.
	far := person("far", 1, "far@example.org", "Far")
	far.CreateTime, far.UpdateTime = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	f.apply(far)
	if got, err := f.Get(t.Context(), "far"); err != nil || got.CreateTime.Year() != 1677 || got.UpdateTime.Year() != 2262 {
		t.Errorf("far off: %v, %v (%v)", got.CreateTime, got.UpdateTime, err)
	}
}

// However events are cut into batches, the same is stored: the numbers of people apart, which nobody sees.
func TestBatchesOfAnySizeGiveTheSame(t *testing.T) {
	people := crowd(500)
	for i := range 300 {
		p := people[i*7%500]
		p.Version, p.Name = 2+uint64(i)/100, p.Name+" Changed"
		if i%5 == 0 {
			p = deleted(p.ID, 100)
		}
		people = append(people, p)
	}
	var want []string
	for _, size := range []int{1, 7, 200, 220, 800} {
		f := open(t)
		for batch := range slices.Chunk(people, size) {
			f.apply(batch...)
		}
		got := f.content()
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("batches of %d: %s", size, diff)
		}
	}
}

func TestWhatIsRolledBackLeavesNothing(t *testing.T) {
	f := open(t)
	f.apply(person("ada", 1, "ada@example.org", "Ada"))
	before := f.content()
	tx, err := f.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(t.Context(), tx, append(crowd(50), deleted("ada", 2))); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	f.check()
	if diff := cmp.Diff(before, f.content()); diff != "" {
		t.Error(diff)
	}
}
