package store_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// upTo is the migrations up to a number: those of an older release.
func upTo(t *testing.T, last string) fstest.MapFS {
	t.Helper()
	older := fstest.MapFS{}
	err := fs.WalkDir(store.Migrations, "migrations", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name()[:len(last)] > last {
			return err
		}
		data, err := fs.ReadFile(store.Migrations, path)
		older[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil || len(older) == 0 {
		t.Fatalf("migrations up to %s: %v, %v", last, older, err)
	}
	return older
}

// openOld is a database as release 0.1.0 has left it, with two people, one of them deleted, brought up to date.
func openOld(t *testing.T) *fixture {
	t.Helper()
	db := servicetest.OpenDatabase(t, servicetest.DSN(t, "directory"), "directory")
	if err := db.Migrate(t.Context(), upTo(t, "00001")); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`INSERT INTO people (no, id, version, deleted, email, name, create_time, update_time, terms)
			VALUES (1, 'ada', 3, FALSE, 'ada@example.org', 'Ada Byron', 1, NULL, '` + "ada\nada@example.org\nbyron" + `')`,
		`INSERT INTO people (no, id, version, deleted, email, name, create_time, update_time, terms)
			VALUES (2, 'alan', 2, TRUE, '', '', NULL, NULL, '')`,
		`INSERT INTO terms (segment, term, person) VALUES (0, 'ada', 1), (0, 'ada@example.org', 1), (0, 'byron', 1)`,
		`INSERT INTO segments (segment, people) VALUES (0, 1)`,
	} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	f := &fixture{store.New(db), t, db}
	f.takeNumbers(2)
	if err := db.Migrate(t.Context(), store.Migrations); err != nil {
		t.Fatal(err)
	}
	f.check()
	return f
}

func TestADatabaseOfAnOlderReleaseGoesOnAnswering(t *testing.T) {
	f := openOld(t)
	got, err := f.Get(t.Context(), "ada")
	if err != nil || got.Name != "Ada Byron" || got.Version != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if got.DisplayName != nil || got.Locale != nil || got.Phone != nil || got.Parts != nil {
		t.Errorf("%+v: what nobody told of is absent", got)
	}
	if found := f.search("byron") + ", " + f.holders("ada@example.org"); found != "Ada Byron, ada" {
		t.Errorf("found %q", found)
	}
	// The next event that tells of it fills it in.
	next := person("ada", 4, "ada@example.org", "Ada King")
	next.DisplayName, next.Parts = new("Countess"), &store.Parts{Given: "Ada", Family: "King"}
	f.apply(next, person("joan", 1, "joan@example.org", "Joan Clarke"))
	got, err = f.Get(t.Context(), "ada")
	if diff := cmp.Diff(next, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if found := f.search("countess") + ", " + f.search("joan") + f.search("byron"); found != "Ada King, Joan Clarke" {
		t.Errorf("found %q", found)
	}
}

// An older program would not clear what it does not know of.
func TestAnOlderReleaseIsRefusedAfterThat(t *testing.T) {
	f := openOld(t)
	err := f.db.Migrate(t.Context(), upTo(t, "00001"))
	if err == nil || !strings.Contains(err.Error(), "it is at version 2 and this program knows 1") {
		t.Errorf("error %v, want that it is at version 2", err)
	}
}
