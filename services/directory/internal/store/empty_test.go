package store_test

import (
	"testing"

	"github.com/tidings-dev/tidings/services/directory/internal/store"
)

// Who comes after it is found, and who was there before is not, in however many segments they stood.
func TestEmptyRemovesEverybody(t *testing.T) {
	f := open(t)
	f.apply(store.Person{ID: "1", Version: 1, Name: "Ada", Email: "ada@example.org"}, store.Person{ID: "2", Version: 3, Deleted: true})
	empty := func(commit bool) {
		t.Helper()
		tx, err := f.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Empty(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
		end := tx.Rollback
		if commit {
			end = tx.Commit
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		f.check()
	}
	empty(false)
	if got := f.search("ada"); got != "Ada" {
		t.Fatalf("found %q after what was taken back", got)
	}
	empty(true)
	for _, id := range []string{"1", "2"} {
		if _, err := f.Get(t.Context(), id); err == nil {
			t.Errorf("%s is there", id)
		}
	}
	f.apply(store.Person{ID: "1", Version: 1, Name: "Ada Again", Email: "ada@example.org"})
	if got := f.search("ada"); got != "Ada Again" || f.count() != 1 {
		t.Errorf("found %q of %d", got, f.count())
	}
}
