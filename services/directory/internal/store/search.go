package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/times"
)

// Place is where a match stands in the order of a search.
type Place struct {
	Segment int64  `json:"s"`
	Term    string `json:"t"`
	Person  int64  `json:"p"`
}

// Match is a person whom a search has found.
type Match struct {
	Person
	At Place
}

// Search returns at most limit people whose address, or a word of whose name or display name, begins with query, each
// once, from behind after on; nil is the beginning. Fewer than limit means that there are no more. The order is that of Place,
// and a person's place changes only with their terms. A query of nothing but white space finds nobody.
func (s *Store) Search(ctx context.Context, query string, after *Place, limit int) ([]Match, error) {
	q := newPrefix(query)
	from := Place{Segment: -1}
	if after != nil {
		from = *after
	}
	found := make([]Match, 0, limit)
	for more := q.folded != ""; more && len(found) < limit; {
		// One person may be there by several terms, so a page can take more than one look.
		want, seen := limit-len(found), 0
		err := s.eachCandidate(ctx, q, from, want, func(m Match, terms string) {
			from = m.At
			seen++
			if q.finds(&m, terms) {
				found = append(found, m)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("store: search: %w", err)
		}
		more = seen == want
	}
	return found, nil
}

// candidates are the rows of the index that begin with a query, segment by segment, which is the order of the answer.
// SQLite is kept to this order of reading by CROSS JOIN. Postgres is by LATERAL: it asks one segment after the other for
// no more rows than are wanted, until there are enough.
var candidates = map[database.Dialect]string{
	database.SQLite: `SELECT ` + personColumns + `, p.terms, t.segment, t.term, t.person
		FROM segments s CROSS JOIN terms t CROSS JOIN people p
		WHERE t.segment = s.segment AND p.no = t.person AND t.term >= $1 AND t.term < $2
		AND s.segment >= $3 AND (t.segment, t.term, t.person) > ($4, $5, $6)
		ORDER BY s.segment, t.term, t.person LIMIT $7`,
	database.Postgres: `SELECT ` + personColumns + `, p.terms, t.segment, t.term, t.person
		FROM segments s CROSS JOIN LATERAL (
			SELECT i.segment, i.term, i.person FROM terms i
			WHERE i.segment = s.segment AND i.term >= $1 AND i.term < $2
			AND (i.segment, i.term, i.person) > ($4, $5, $6)
			ORDER BY i.term, i.person LIMIT $7
		) t JOIN people p ON p.no = t.person
		WHERE s.segment >= $3
		ORDER BY s.segment, t.term, t.person LIMIT $7`,
}

// eachCandidate calls fn for the next rows of the index, at most limit, with the person and all their terms.
func (s *Store) eachCandidate(ctx context.Context, q prefix, from Place, limit int, fn func(m Match, terms string)) error {
	return s.eachRow(ctx, func(rows *sql.Rows) (bool, error) {
		var m Match
		var terms string
		var err error
		if m.Person, err = scanPerson(rows, &terms, &m.At.Segment, &m.At.Term, &m.At.Person); err == nil {
			fn(m, terms)
		}
		return true, err
	}, candidates[s.db.Dialect], q.low, q.high, from.Segment, from.Segment, from.Term, from.Person, limit)
}

// prefix is what a search looks for: the folded query, and the range of terms that begin with it.
type prefix struct{ folded, low, high string }

// newPrefix makes one of what a person has typed.
func newPrefix(query string) prefix {
	folded := Fold(query)
	low := cut(folded)
	return prefix{folded, low, behind(low)}
}

// long says that the index, which holds the beginnings of words only, knows less than the query says.
func (q *prefix) long() bool { return len(q.folded) > len(q.low) }

// finds reports whether a row of the index stands for a match: the row is the first of this person's that begin with
// the query, so that each person is found once.
func (q *prefix) finds(m *Match, terms string) bool {
	for _, t := range splitTerms(terms) {
		if strings.HasPrefix(t, q.low) {
			return t == m.At.Term && (!q.long() || q.findsWhole(m))
		}
	}
	return false
}

// findsWhole compares what the index has cut off.
func (q *prefix) findsWhole(m *Match) (found bool) {
	eachTerm(&m.Person, func(term string) bool {
		found = strings.HasPrefix(term, q.folded)
		return !found
	})
	return found
}

// CountMatches counts whom Search finds, up to limit.
func (s *Store) CountMatches(ctx context.Context, query string, limit int) (int64, error) {
	q := newPrefix(query)
	if q.long() || q.folded == "" {
		found, err := s.Search(ctx, query, nil, limit)
		return int64(len(found)), err
	}
	_, matches, err := s.countSegments(ctx, &q, int64(limit))
	if err != nil {
		return 0, fmt.Errorf("store: count matches: %w", err)
	}
	return min(matches, int64(limit)), nil
}

// enoughToEstimate is how many matches EstimateMatches counts before it concludes from them.
const enoughToEstimate = 10_000

// EstimateMatches says about how many people Search finds: it counts in the first segments, and takes the others for
// alike.
func (s *Store) EstimateMatches(ctx context.Context, query string) (int64, error) {
	q := newPrefix(query)
	people, matches, err := s.countSegments(ctx, &q, enoughToEstimate)
	if err != nil {
		return 0, fmt.Errorf("store: estimate matches: %w", err)
	}
	all, err := s.Count(ctx)
	if err != nil || people == 0 {
		return matches, err
	}
	return int64(float64(matches) * float64(all) / float64(people)), nil
}

// countSegments counts matches, one segment after the other, each person once, until it has enough; and how many people
// there are in these segments.
func (s *Store) countSegments(ctx context.Context, q *prefix, enough int64) (people, matches int64, err error) {
	const text = `SELECT s.segment, s.people, (SELECT COUNT(DISTINCT t.person) FROM terms t
		WHERE t.segment = s.segment AND t.term >= $1 AND t.term < $2)
		FROM segments s WHERE s.segment > $3 ORDER BY s.segment LIMIT $4`
	// Postgres computes all that was asked for, also what is not read any more: so it is asked for two segments, for
	// four, and so on.
	last := int64(-1)
	for ask, more := 2, true; more && matches < enough; ask *= 2 {
		got := 0
		err = s.eachRow(ctx, func(rows *sql.Rows) (bool, error) {
			got++
			var p, m int64
			err := rows.Scan(&last, &p, &m)
			people, matches = people+p, matches+m
			return matches < enough, err
		}, text, q.low, q.high, last, ask)
		if err != nil {
			return 0, 0, err
		}
		more = got == ask
	}
	return people, matches, nil
}

// Holder is where a holder of an address stands among the others: the latest update first.
type Holder struct {
	Updated int64  `json:"u"` // update time in nanoseconds since 1970
	ID      string `json:"i"`
}

// HolderOf returns p's place.
func HolderOf(p Person) Holder { return Holder{times.ToNanos(p.UpdateTime).Int64, p.ID} }

// before reports whether h stands before other.
func (h Holder) before(other Holder) bool {
	return h.Updated > other.Updated || h.Updated == other.Updated && h.ID > other.ID
}

// holders are the people found by one whole term, in the order of the answer. OFFSET 0 has Postgres ask one segment after
// the other, where it may think of reading the whole index.
var holders = map[database.Dialect]string{
	database.SQLite: `SELECT ` + personColumns + ` FROM segments s CROSS JOIN terms t CROSS JOIN people p
		WHERE t.segment = s.segment AND p.no = t.person AND t.term = $1
		ORDER BY COALESCE(p.update_time, 0) DESC, p.id DESC`,
	database.Postgres: `SELECT ` + personColumns + ` FROM segments s CROSS JOIN LATERAL (
			SELECT i.person FROM terms i WHERE i.segment = s.segment AND i.term = $1 OFFSET 0
		) t JOIN people p ON p.no = t.person
		ORDER BY COALESCE(p.update_time, 0) DESC, p.id DESC`,
}

// Holders returns at most limit people who hold an address, the latest update first, from behind after on, and how
// many there are in all, counted up to countLimit. There are rarely two: it reads all of them each time.
func (s *Store) Holders(ctx context.Context, email string, after *Holder, limit, countLimit int) (found []Person, total int64, err error) {
	want := foldEmail(database.Text(email))
	err = s.eachRow(ctx, func(rows *sql.Rows) (bool, error) {
		p, err := scanPerson(rows)
		if err != nil || foldEmail(p.Email) != want {
			return true, err // else one with a word in the name like that, or an address that only looks the same
		}
		total++
		if len(found) < limit && (after == nil || after.before(HolderOf(p))) {
			found = append(found, p)
		}
		return total < int64(countLimit) || len(found) < limit, nil
	}, holders[s.db.Dialect], cut(Fold(database.Text(email))))
	if err != nil {
		return nil, 0, fmt.Errorf("store: holders: %w", err)
	}
	return found, total, nil
}
