package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/rows"
	"github.com/tidings-dev/tidings/services/internal/times"
)

// Tx is what a change needs of a transaction.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// segmentPeople is how many people's terms share a segment of the index. More makes writing slower and searching
// faster. A change needs a migration that builds the index anew: in which segment the terms of a person stand follows
// from the person's number and this.
const segmentPeople = 10_000

// statements are those with many rows.
type statements struct {
	known       rows.Statement // what is there of these ids
	people      rows.Statement
	addTerms    rows.Statement
	removeTerms rows.Statement
	segments    rows.Statement
	number      string // gives out $1 numbers
}

// newStatements writes out the texts, once for a store.
func newStatements(d database.Dialect) statements {
	return statements{
		// Rows are locked in the order of ids, by whoever changes them: so nobody waits in a circle.
		known: rows.New(1, `SELECT p.id, p.no, p.version, p.deleted, p.terms, `+toldColumns+` FROM people p WHERE p.id IN (`, `) ORDER BY p.id`+d.ForUpdate()),
		// What an event does not tell of is folded before, not by this: the terms follow from it, too.
		people: rows.New(15, `INSERT INTO people (no, id, version, deleted, email, name, create_time, update_time, terms,
			display_name, locale, phone, given_name, family_name, name_order) VALUES `,
			` ON CONFLICT (id) DO UPDATE SET version = excluded.version, deleted = excluded.deleted, email = excluded.email,
			name = excluded.name, create_time = excluded.create_time, update_time = excluded.update_time, terms = excluded.terms,
			display_name = excluded.display_name, locale = excluded.locale, phone = excluded.phone,
			given_name = excluded.given_name, family_name = excluded.family_name, name_order = excluded.name_order
			WHERE people.no = excluded.no`),
		addTerms:    rows.New(3, `INSERT INTO terms (segment, term, person) VALUES `, ` ON CONFLICT DO NOTHING`),
		removeTerms: rows.New(3, `DELETE FROM terms WHERE (segment, term, person) IN (VALUES `+typedRow[d], `)`),
		segments: rows.New(2, `INSERT INTO segments (segment, people) VALUES `,
			` ON CONFLICT (segment) DO UPDATE SET people = segments.people + excluded.people`),
		number: number[d],
	}
}

// typedRow begins a list of rows of the index with one that no row is equal to, from which Postgres learns the types;
// without it, every parameter would be a text.
var typedRow = map[database.Dialect]string{
	database.Postgres: `(CAST(NULL AS BIGINT), CAST(NULL AS TEXT), CAST(NULL AS BIGINT)), `,
}

// number gives out $1 numbers and answers with the last of them; with each of them where others may take some in between.
var number = map[database.Dialect]string{
	database.SQLite:   `UPDATE numbering SET last = last + $1 RETURNING last`,
	database.Postgres: `SELECT nextval('numbering') FROM generate_series(1, $1)`,
}

// conflict is the error of a change that met another of the same person at the same moment, on another replica: the
// positions and marks of the inbox keep that from happening, but for somebody who has come to be known meanwhile. It is
// told as the database tells of such things, so that the transaction is taken back and run again.
type conflict struct{ error }

// SQLState returns the code of a serialization failure.
func (conflict) SQLState() string { return "40001" }

// Apply makes people what they are in the list, inside the caller's transaction, one after the other. What the list does
// not tell of somebody (see [Person]) stays as it was: as in the one before it of the same person in the list, else as
// stored. One of whom a later version is stored already is left alone. Nothing is asked of one person that depends on
// another: who holds an address may be two people for a while.
func (s *Store) Apply(ctx context.Context, tx Tx, people []Person) error {
	a := apply{Store: s, tx: tx, changes: changesOf(people), count: make(map[int64]int64)}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"what is known", a.readKnown},
		{"numbers", a.number},
		{"people", a.storePeople},
		{"terms", a.storeTerms},
		{"segments", a.storeSegments},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("store: apply %d changes: %s: %w", len(people), step.name, err)
		}
	}
	return nil
}

// apply is one call of Apply.
type apply struct {
	*Store
	tx      Tx
	changes []change
	count   map[int64]int64 // by segment: how many people more
	args    []any
}

// readKnown finds out what is stored of the people of the call, folds what is told of them into it, and drops those of
// whom there is no news.
func (a *apply) readKnown(ctx context.Context) error {
	ids := a.take(len(a.changes))
	for i := range a.changes {
		ids = append(ids, a.changes[i].id())
	}
	// It is read for new people too, of whom there is nothing: whether one is new is for the table to say, not for the
	// type of the event, and it costs a tenth of the whole.
	err := a.many.known.Query(ctx, a.tx, ids, a.scanKnown)
	news := a.changes[:0]
	for i := range a.changes {
		if c := &a.changes[i]; c.fold() {
			news = append(news, *c)
		}
	}
	a.changes = news
	return err
}

// scanKnown takes one row of what is stored.
func (a *apply) scanKnown(row *sql.Rows) error {
	var p Person
	var parts nullParts
	var no int64
	var terms string
	if err := row.Scan(append([]any{&p.ID, &no, &p.Version, &p.Deleted, &terms}, parts.told(&p)...)...); err != nil {
		return err
	}
	p.Parts = parts.parts()
	i, found := slices.BinarySearchFunc(a.changes, p.ID, func(c change, id string) int { return strings.Compare(c.id(), id) })
	if !found {
		return fmt.Errorf("the database answers for %q, who was not asked for", p.ID)
	}
	c := &a.changes[i]
	c.is, c.no, c.wasDeleted, c.old = p, no, p.Deleted, splitTerms(terms)
	return nil
}

// number gives each new person a number, later ones higher ones.
func (a *apply) number(ctx context.Context) error {
	fresh := 0
	for i := range a.changes {
		if a.changes[i].no == 0 {
			fresh++
		}
	}
	numbers, err := a.takeNumbers(ctx, fresh)
	if err != nil {
		return err
	}
	for i := range a.changes {
		if c := &a.changes[i]; c.no == 0 {
			c.no, c.wasDeleted = numbers[0], true // as if gone before: then the counts add up
			numbers = numbers[1:]
		}
	}
	return nil
}

// takeNumbers returns n numbers that nobody else gets, in their order.
func (a *apply) takeNumbers(ctx context.Context, n int) (numbers []int64, err error) {
	if n == 0 {
		return nil, nil
	}
	rows, err := a.tx.QueryContext(ctx, a.many.number, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var no int64
	for rows.Next() {
		if err := rows.Scan(&no); err != nil {
			return nil, err
		}
		numbers = append(numbers, no)
	}
	if a.db.Dialect == database.SQLite { // the last of n in a row
		numbers = numbers[:0]
		for first := no - int64(n) + 1; first <= no; first++ {
			numbers = append(numbers, first)
		}
	}
	return numbers, rows.Err()
}

// storePeople writes the rows of the people, and notes who has come and who has gone in which segment.
func (a *apply) storePeople(ctx context.Context) error {
	args := a.take(len(a.changes) * a.many.people.Cols())
	for i := range a.changes {
		c := &a.changes[i]
		p := &c.is
		if !p.Deleted {
			c.terms = termsOf(p)
		}
		args = append(args, c.no, p.ID, int64(p.Version), p.Deleted, p.Email, p.Name,
			times.ToNanos(p.CreateTime), times.ToNanos(p.UpdateTime), joinTerms(c.terms))
		args = p.columns(args)
		switch {
		case c.wasDeleted && !p.Deleted:
			a.count[segmentOf(c.no)]++
		case !c.wasDeleted && p.Deleted:
			a.count[segmentOf(c.no)]--
		}
	}
	stored, err := a.many.people.Exec(ctx, a.tx, args)
	if err == nil && stored != int64(len(a.changes)) {
		err = conflict{errors.New("somebody new was stored by another replica at the same moment")}
	}
	return err
}

// storeTerms writes what has changed between old terms and new ones, in the order of the index.
func (a *apply) storeTerms(ctx context.Context) error {
	var gone, come []entry
	for i := range a.changes {
		c := &a.changes[i]
		if slices.Equal(c.old, c.terms) {
			continue
		}
		gone = c.appendMissing(gone, c.old, c.terms)
		come = c.appendMissing(come, c.terms, c.old)
	}
	if err := a.execEntries(ctx, &a.many.removeTerms, gone); err != nil {
		return err
	}
	return a.execEntries(ctx, &a.many.addTerms, come)
}

// entry is a row of the index.
type entry struct {
	segment int64
	term    string
	person  int64
}

// appendMissing appends the terms that are in one sorted list and not in the other.
func (c *change) appendMissing(to []entry, in, notIn []string) []entry {
	for _, t := range in {
		if _, found := slices.BinarySearch(notIn, t); !found {
			to = append(to, entry{segmentOf(c.no), t, c.no})
		}
	}
	return to
}

// execEntries runs a statement for rows of the index, in the order of the index: neighbours share a page.
func (a *apply) execEntries(ctx context.Context, m *rows.Statement, entries []entry) error {
	slices.SortFunc(entries, func(x, y entry) int {
		return cmp.Or(cmp.Compare(x.segment, y.segment), strings.Compare(x.term, y.term), cmp.Compare(x.person, y.person))
	})
	args := a.take(len(entries) * m.Cols())
	for _, e := range entries {
		args = append(args, e.segment, e.term, e.person)
	}
	_, err := m.Exec(ctx, a.tx, args)
	return err
}

// storeSegments adds what has been noted to the segments' counts, in their order, so that two transactions that lock
// the same ones never wait for one another in a circle.
func (a *apply) storeSegments(ctx context.Context) error {
	args := a.take(len(a.count) * a.many.segments.Cols())
	for _, segment := range slices.Sorted(maps.Keys(a.count)) {
		if n := a.count[segment]; n != 0 {
			args = append(args, segment, n)
		}
	}
	_, err := a.many.segments.Exec(ctx, a.tx, args)
	return err
}

// take returns an empty slice with room for n arguments, on memory that the steps share.
func (a *apply) take(n int) []any {
	a.args = slices.Grow(a.args[:0], n)
	return a.args
}

// segmentOf says where the terms of the person with number no stand; numbers begin at 1.
func segmentOf(no int64) int64 { return (no - 1) / segmentPeople }

// joinTerms and splitTerms make one text of sorted terms and take it apart. No term holds a newline: see isSpace.
func joinTerms(terms []string) string { return strings.Join(terms, "\n") }

func splitTerms(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
