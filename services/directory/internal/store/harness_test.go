package store_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// fixture is a store in a database of its own.
type fixture struct {
	*store.Store
	t  testing.TB
	db *database.DB
}

func open(t testing.TB) *fixture {
	t.Helper()
	db := servicetest.Database(t, "directory", store.Migrations)
	return &fixture{store.New(db), t, db}
}

// apply applies people in one transaction, and wants what is stored to be consistent.
func (f *fixture) apply(people ...store.Person) {
	f.t.Helper()
	f.applyUnchecked(people...)
	f.check()
}

// applyUnchecked is apply for a test that looks at the end.
func (f *fixture) applyUnchecked(people ...store.Person) {
	f.t.Helper()
	tx, err := f.db.BeginTx(f.t.Context(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.Apply(f.t.Context(), tx, people); err != nil {
		_ = tx.Rollback()
		f.t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		f.t.Fatal(err)
	}
}

// takeNumbers uses up the first n numbers, as whoever wrote rows by hand has done.
func (f *fixture) takeNumbers(n int) {
	f.t.Helper()
	text := `UPDATE numbering SET last = last + $1`
	if f.db.Dialect == database.Postgres {
		text = `SELECT nextval('numbering') FROM generate_series(1, $1)`
	}
	if _, err := f.db.ExecContext(f.t.Context(), text, n); err != nil {
		f.t.Fatal(err)
	}
}

// check wants the index to hold just what the people's rows say, and the segments to count who is there.
func (f *fixture) check() {
	f.t.Helper()
	var rows, listed, live int64
	err := f.db.QueryRowContext(f.t.Context(), `SELECT (SELECT COUNT(*) FROM terms),
		(SELECT COALESCE(SUM(length(terms) - length(replace(terms, $1, '')) + 1), 0) FROM people WHERE terms <> ''),
		(SELECT COUNT(*) FROM people WHERE NOT deleted)`, "\n").Scan(&rows, &listed, &live)
	if err != nil {
		f.t.Fatal(err)
	}
	if rows != listed {
		f.t.Errorf("the index holds %d terms, and the people %d", rows, listed)
	}
	if n := f.count(); n != live {
		f.t.Errorf("the segments count %d people, and there are %d", n, live)
	}
}

// content is everything that is stored, a line a person, but for the numbers of people, which nobody sees. NULL is told
// from what is empty, and the terms are those of the index.
func (f *fixture) content() []string {
	f.t.Helper()
	rows, err := f.db.QueryContext(f.t.Context(), `SELECT no, id, version, deleted, email, name, create_time, update_time,
		display_name, locale, phone, given_name, family_name, name_order, terms FROM people ORDER BY id`)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	index := f.index()
	var all []string
	for rows.Next() {
		var no int64
		var gone bool
		var columns [12]sql.NullString
		var terms string
		dest := []any{&no, &columns[0], &columns[1], &gone}
		for i := range columns[2:] {
			dest = append(dest, &columns[2+i])
		}
		if err := rows.Scan(append(dest, &terms)...); err != nil {
			f.t.Fatal(err)
		}
		line := fmt.Sprint("deleted ", gone)
		for _, c := range columns {
			line += " " + quoted(c)
		}
		if got := strings.Join(index[no], "\n"); got != terms {
			f.t.Errorf("%s: the index has %q, and the row %q", columns[0].String, got, terms)
		}
		all = append(all, line+" "+strings.Join(index[no], ","))
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return all
}

func quoted(s sql.NullString) string {
	if !s.Valid {
		return "NULL"
	}
	return strconv.Quote(s.String)
}

// index is the terms of each number, in order.
func (f *fixture) index() map[int64][]string {
	f.t.Helper()
	rows, err := f.db.QueryContext(f.t.Context(), `SELECT person, term FROM terms ORDER BY person, term`)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	index := make(map[int64][]string)
	for rows.Next() {
		var no int64
		var term string
		if err := rows.Scan(&no, &term); err != nil {
			f.t.Fatal(err)
		}
		index[no] = append(index[no], term)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return index
}

func (f *fixture) count() int64 {
	f.t.Helper()
	n, err := f.Count(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// search returns the names of all whom a query finds, sorted, by pages of two.
func (f *fixture) search(query string) string {
	f.t.Helper()
	var names []string
	var after *store.Place
	for {
		found, err := f.Search(f.t.Context(), query, after, 2)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, m := range found {
			names = append(names, m.Name)
		}
		if len(found) < 2 {
			break
		}
		after = &found[1].At
	}
	n, err := f.CountMatches(f.t.Context(), query, 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	if n != int64(len(names)) {
		f.t.Errorf("%q finds %d people, and %d are counted", query, len(names), n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// holders returns the ids of all who hold an address, in order, by pages of two.
func (f *fixture) holders(email string) string {
	f.t.Helper()
	var ids []string
	var after *store.Holder
	for {
		found, total, err := f.Holders(f.t.Context(), email, after, 2, 1000)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, p := range found {
			ids = append(ids, p.ID)
			after = new(store.HolderOf(p))
		}
		if len(found) < 2 {
			if total != int64(len(ids)) {
				f.t.Errorf("%q is held by %d people, and %d are counted", email, len(ids), total)
			}
			return strings.Join(ids, ", ")
		}
	}
}

var day = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// person is somebody who is called like their id, with as many days gone by as versions.
func person(id string, version uint64, email, name string) store.Person {
	return store.Person{
		ID: id, Version: version, Email: email, Name: name,
		CreateTime: day, UpdateTime: day.AddDate(0, 0, int(version)-1),
	}
}

func deleted(id string, version uint64) store.Person {
	return store.Person{ID: id, Version: version, Deleted: true}
}

// crowd makes n people with ids in order.
func crowd(n int) []store.Person {
	people := make([]store.Person, n)
	for i := range people {
		id := fmt.Sprintf("id-%06d", i)
		people[i] = person(id, 1, fmt.Sprintf("user%d@example.org", i), fmt.Sprintf("Crowd Member%d", i))
	}
	return people
}
