package store_test

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// firstMigrations are those of 0.1.0: the first of each dialect.
func firstMigrations(t *testing.T) fs.FS {
	t.Helper()
	first := fstest.MapFS{}
	names, err := fs.Glob(store.Migrations, "migrations/*/00001_*.sql")
	if err != nil || len(names) != 2 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(store.Migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		first[path.Clean(name)] = &fstest.MapFile{Data: text}
	}
	return first
}

// The statements of 0.1.0.
const (
	oldInsert = `INSERT INTO users (id, email, email_fold, name, version, create_time, update_time) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	oldUpdate = `UPDATE users SET email = $1, email_fold = $2, name = $3, version = $4, update_time = $5 WHERE id = $6`
	oldDelete = `UPDATE users SET email = NULL, email_fold = NULL, name = NULL, version = $1, update_time = $2, delete_time = $3 WHERE id = $4`
)

func mustExec(t *testing.T, db *database.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// ids of users in a database of 0.1.0, in the order of their ids; the last was deleted.
var oldIDs = [...]string{"01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002", "01890000-0000-7000-8000-000000000003"}

// oldDatabase makes a database as 0.1.0 leaves it.
func oldDatabase(t *testing.T) (dsn string) {
	t.Helper()
	dsn = servicetest.DSN(t, "users")
	db := servicetest.OpenDatabase(t, dsn, "users")
	if err := db.Migrate(t.Context(), firstMigrations(t)); err != nil {
		t.Fatal(err)
	}
	for i, id := range oldIDs {
		email := fmt.Sprintf("%d@example.org", i)
		mustExec(t, db, oldInsert, id, email, email, "Ada  Lovelace", 1, 1_000, 1_000)
	}
	mustExec(t, db, oldUpdate, "Ada@example.org", "ada@example.org", "Ada", 2, 2_000, oldIDs[1])
	mustExec(t, db, oldDelete, 2, 3_000, 3_000, oldIDs[2])
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func TestADatabaseOfTheReleaseBeforeGoesOn(t *testing.T) {
	f := tells(t, oldDatabase(t), store.V2, store.V1)
	for i, want := range []store.User{
		{ID: oldIDs[0], Profile: named("0@example.org", "Ada  Lovelace"), Version: 1},
		{ID: oldIDs[1], Profile: named("Ada@example.org", "Ada"), Version: 2},
		{ID: oldIDs[2], Version: 2},
	} {
		got := f.row(oldIDs[i])
		if got.ID != want.ID || got.Profile != want.Profile || got.Version != want.Version || got.Deleted() != (i == 2) {
			t.Errorf("the row is %+v, want %+v", got, want)
		}
	}
	if totals, err := f.Totals(t.Context()); err != nil || totals != (store.Totals{Live: 2, Deleted: 1, Versions: 5}) {
		t.Errorf("totals are %+v, %v", totals, err)
	}
	if parts := f.row(oldIDs[0]).NameParts(); parts != (store.Parts{Given: "Ada ", Family: "Lovelace"}) {
		t.Errorf("the name's parts are %+v", parts)
	}
	u := f.changed(oldIDs[0], store.Change{Phone: ptr("+41443643232"), Parts: &store.Parts{Given: "Ada", Family: "Lovelace"}})
	if f.row(oldIDs[0]) != u || u.Version != 2 || u.Name != "Ada Lovelace" {
		t.Errorf("changed to %+v, it is %+v", u, f.row(oldIDs[0]))
	}
	for i, want := range []uint64{3, 3, 2} {
		if v, err := f.Delete(t.Context(), oldIDs[i], nil); err != nil || v != want {
			t.Errorf("deleted at %d (%v), want %d", v, err, want)
		}
		if kept := f.texts(oldIDs[i]); kept != "" {
			t.Errorf("the tombstone has %q", kept)
		}
	}
	if n := len(f.published()); n != 2*3 {
		t.Errorf("%d events, want two for each of 3 changes", n)
	}
}

// Its tables may have changed their meaning.
func TestTheReleaseBeforeRefusesADatabaseOfThisOne(t *testing.T) {
	f := open(t, nil)
	if err := f.db.Migrate(t.Context(), firstMigrations(t)); err == nil || !strings.Contains(err.Error(), "it is at version 2 and this program knows 1; run the newer program") {
		t.Errorf("it is answered %v", err)
	}
}

// The table holds whoever writes to it to that, be it this store with a statement that forgets something.
func TestNoTombstoneMayHoldAnythingOfThePerson(t *testing.T) {
	f := open(t, nil)
	gone := f.created("ada@example.org", "Ada")
	if _, err := f.Delete(t.Context(), gone.ID, nil); err != nil {
		t.Fatal(err)
	}
	there, err := f.Create(t.Context(), full("ilona@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	for _, column := range []string{"display_name = 'x'", "locale = 'x'", "phone = 'x'", "given_name = 'x', family_name = '', name_order = 0"} {
		_, err := f.db.Exec(`UPDATE users SET `+column+` WHERE id = $1`, gone.ID)
		if kept := f.texts(gone.ID); kept != "" || f.db.Dialect == database.SQLite && err == nil {
			t.Errorf("%s: %v, and the tombstone has %q", column, err, kept)
		}
	}
	for _, column := range []string{"given_name = NULL", "family_name = NULL", "name_order = NULL", "given_name = '', family_name = ''", "phone = NULL"} {
		if _, err := f.db.Exec(`UPDATE users SET `+column+` WHERE id = $1`, there.ID); err == nil {
			t.Errorf("%s is taken", column)
		}
	}
	if f.row(there.ID) != there {
		t.Errorf("%+v became %+v", there, f.row(there.ID))
	}
}

// Replicas are replaced one by one, and the old ones go on writing beside the new.
func TestAReplicaOfTheReleaseBeforeMayWriteBesideThisOne(t *testing.T) {
	servicetest.PostgresOnly(t, "a SQLite file has one process")
	f := open(t, nil)
	u, err := f.Create(t.Context(), full("ilona@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, f.db, oldUpdate, "ilona@example.org", "ilona@example.org", "Kiss Ilona", 2, 2_000, u.ID)
	got := f.row(u.ID)
	if got.Name != "Kiss Ilona" || got.NameParts() != (store.Parts{Given: "Kiss", Family: "Ilona"}) || got.Phone != u.Phone {
		t.Errorf("the row is %+v, and the parts of the name before must be gone", got)
	}
	if again := f.changed(u.ID, store.Change{Locale: ptr("de")}); again.Version != 3 || f.row(u.ID) != again || again.Name != "Kiss Ilona" {
		t.Errorf("it became %+v", again)
	}
	mustExec(t, f.db, oldDelete, 4, 3_000, 3_000, u.ID)
	if kept := f.texts(u.ID); kept != "" || !f.row(u.ID).Deleted() {
		t.Errorf("the tombstone has %q", kept)
	}
	mustExec(t, f.db, oldInsert, oldIDs[0], "a@example.org", "a@example.org", "Ada", 1, 1_000, 1_000)
	if got := f.row(oldIDs[0]); got.Profile != named("a@example.org", "Ada") {
		t.Errorf("the row is %+v", got)
	}
}
