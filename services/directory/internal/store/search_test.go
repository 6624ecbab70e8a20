package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/database"
)

func TestSearchFindsTheBeginningOfAnAddressOrOfAnyWord(t *testing.T) {
	f := open(t)
	long := strings.Repeat("Wolfeschlegelsteinhausen", 20) // longer than the index keeps
	f.apply(
		person("1", 1, "ada@example.org", "Ada Lovelace"),
		person("2", 1, "Ada.Byron@EXAMPLE.org", "ADA  byron\tKing"),
		person("3", 1, "jose@example.org", "José Núñez"),
		person("4", 1, "nfd@example.org", "Jose\u0301 Nu\u0301n\u0303ez"),
		person("5", 1, "strasse@example.org", "Anna Weißstraße"),
		person("6", 1, "obrien@example.org", "Conan O'Brien-Smith"),
		person("7", 1, "sigma@example.org", "ΟΔΥΣΣΕΥΣ Παπαδόπουλος"),
		person("8", 1, "100%_real@example.org", "50% Off_Sale [x] *y"),
		person("9", 1, "office@example.org", "Eﬃe Ｗｉｄｅ"),
		person("10", 1, "yamada@example.org", "山田 太郎"),
		person("11", 1, "δοκιμή@παράδειγμα.gr", "Δοκιμή"),
		person("12", 1, "long@example.org", long+" Alpha"),
		person("13", 1, "long2@example.org", long+"x Beta"),
		person("14", 1, "top@example.org", "\U0010FFFF\U0010FFFF Top"),
		person("15", 1, "emoji@example.org", "👩‍🚀 Sally"),
		person("16", 1, `"with space"@example.org`, "Quoted (Local) Part"),
	)
	for _, tt := range []struct{ query, want string }{
		{"ada", "ADA  byron\tKing, Ada Lovelace"},
		{"ADA", "ADA  byron\tKing, Ada Lovelace"},
		{"  ada ", "ADA  byron\tKing, Ada Lovelace"},
		{"ad", "ADA  byron\tKing, Ada Lovelace"},
		{"lovelace", "Ada Lovelace"},
		{"ada@ex", "Ada Lovelace"},
		{"ada.byron@example.org", "ADA  byron\tKing"},
		{"king", "ADA  byron\tKing"},
		{"lace", ""},
		{"example.org", ""},
		{"@", ""},
		{"ada lovelace", ""}, // one word, or an address
		{"josé", "José Núñez, José Núñez"},
		{"JOSE\u0301", "José Núñez, José Núñez"},
		{"núñ", "José Núñez, José Núñez"},
		{"jos", "José Núñez, José Núñez"}, // before the accent
		{"nun", ""},                       // letters with an accent are others
		{"weissstrasse", "Anna Weißstraße"},
		{"WEIẞ", "Anna Weißstraße"},
		{"strasse", "Anna Weißstraße"}, // by the address
		{"o'brien", "Conan O'Brien-Smith"},
		{"brien", "Conan O'Brien-Smith"},
		{"brien-s", "Conan O'Brien-Smith"},
		{"SMITH", "Conan O'Brien-Smith"},
		{"-smith", ""},
		{"οδυσσευς", "ΟΔΥΣΣΕΥΣ Παπαδόπουλος"},
		{"παπαδοπ", ""}, // the accent counts
		{"ΠΑΠΑΔΌΠ", "ΟΔΥΣΣΕΥΣ Παπαδόπουλος"},
		{"%", ""},
		{"_", ""},
		{"100%", "50% Off_Sale [x] *y"},
		{"100__", ""},
		{"50%", "50% Off_Sale [x] *y"},
		{"off_s", "50% Off_Sale [x] *y"},
		{"offXs", ""},
		{"[x", "50% Off_Sale [x] *y"},
		{"x]", "50% Off_Sale [x] *y"},
		{"*", "50% Off_Sale [x] *y"},
		{"' OR 1=1 --", ""},
		{"effie", "Eﬃe Ｗｉｄｅ"},
		{"wide", "Eﬃe Ｗｉｄｅ"},
		{"山", "山田 太郎"},
		{"太郎", "山田 太郎"},
		{"田", ""},
		{"ΔΟΚΙΜΉ@", "Δοκιμή"},
		{long, long + " Alpha, " + long + "x Beta"},
		{strings.ToUpper(long) + "X", long + "x Beta"},
		{long + "xy", ""},
		{"\U0010FFFF", "\U0010FFFF\U0010FFFF Top"},
		{"\U0010FFFF\U0010FFFF\U0010FFFF", ""},
		{"👩", "👩‍🚀 Sally"},
		{`"with space"`, "Quoted (Local) Part"},
		{`"with  sp`, "Quoted (Local) Part"},
		{"local", "Quoted (Local) Part"},
		{"(local)", "Quoted (Local) Part"},
		{"", ""},
		{" \t\n", ""},
		{"\x00", ""},
		{"ada\x00", "ADA  byron\tKing, Ada Lovelace"},
		{strings.Repeat("a", 5000), ""},
	} {
		want := strings.ReplaceAll(tt.want, "José Núñez, José Núñez", "Jose\u0301 Nu\u0301n\u0303ez, José Núñez")
		if got := f.search(tt.query); got != want {
			t.Errorf("%.60q finds %q, want %q", tt.query, got, want)
		}
	}
}

func TestFoldingTwiceIsFoldingOnce(t *testing.T) {
	for _, s := range []string{"Ada", "WEIẞ ß", "Σίσυφος", "ǅ ǲ", "ﬃ ﷺ ㎏ ①", "İstanbul ı", "\u0345α", "Ꭰ ꭰ", "a\u0323\u0302 \u1ead", "é e\u0301"} {
		if once, twice := store.Fold(s), store.Fold(store.Fold(s)); once != twice {
			t.Errorf("%q folds to %q, and that to %q", s, once, twice)
		}
	}
}

func FuzzEverybodyIsFoundByTheirOwnWords(f *testing.F) {
	f.Add("ada@example.org", "Ada Lovelace")
	f.Add("Ünï@ex.org", "O'Brien-ẞmith \u0345x\U0010FFFF")
	f.Add("a b", "- -- a-b-c ﷺ")
	f.Add("", strings.Repeat("ab-", 300))
	fix := open(f)
	version := uint64(0)
	f.Fuzz(func(t *testing.T, email, name string) {
		email, name = strings.ToValidUTF8(email, "?"), strings.ToValidUTF8(name, "?")
		version++
		fix.t = t
		fix.apply(person("fuzz", version, email, name))
		words := strings.Fields(store.Fold(name))
		for _, query := range append(words[:min(len(words), 20)], email) {
			if store.Fold(query) == "" {
				continue
			}
			found, err := fix.Search(t.Context(), query, nil, 10)
			if err != nil || len(found) != 1 {
				t.Errorf("%q finds %d of %q, %q (%v)", query, len(found), email, name, err)
			}
		}
	})
}

// People are in more than one segment here, so pages go over their ends.
func TestPagesGoThroughEverybodyOnceWhilePeopleChange(t *testing.T) {
	const people = 25_000
	f := open(t)
	all := crowd(people)
	for i := 0; i < people; i += 5000 {
		f.apply(all[i : i+5000]...)
	}
	seen := make(map[string]int)
	var after *store.Place
	for page := 0; ; page++ {
		found, err := f.Search(t.Context(), "CROWD", after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			seen[m.ID]++
		}
		// Somebody far ahead changes the address only, somebody is new, and somebody goes.
		p := all[people-1-page]
		f.apply(person(p.ID, 2, "new."+p.Email, p.Name), person(fmt.Sprintf("new-%d", page), 1, "n@example.org", "Late"), deleted(all[page].ID, 9))
		if len(found) < 1000 {
			break
		}
		after = &found[len(found)-1].At
	}
	if len(seen) != people {
		t.Errorf("%d people were found, want %d", len(seen), people)
	}
	for id, n := range seen {
		if n != 1 {
			t.Fatalf("%s was found %d times", id, n)
		}
	}
}

func TestCountsAreExactToTheirLimitAndThenEstimates(t *testing.T) {
	f := open(t)
	var people []store.Person
	for i := range 35_000 {
		p := person(fmt.Sprintf("id-%06d", i), 1, fmt.Sprintf("mail%d@example.org", i), "Some One")
		if i%3 == 0 {
			p.Name = "Third Thirty" // found twice by "thi"
		}
		people = append(people, p)
	}
	f.apply(people...)
	for _, tt := range []struct {
		query    string
		limit    int
		want     int64
		estimate int64
	}{
		{"thi", 20_000, 11_667, 11_667},
		{"thi", 10_001, 10_001, 11_667},
		{"mail", 10_001, 10_001, 35_000},
		{"mail12345@", 10_001, 1, 1},
		{"nobody", 10_001, 0, 0},
	} {
		n, err := f.CountMatches(t.Context(), tt.query, tt.limit)
		if err != nil || n != tt.want {
			t.Errorf("%q up to %d: %d, %v; want %d", tt.query, tt.limit, n, err, tt.want)
		}
		about, err := f.EstimateMatches(t.Context(), tt.query)
		if err != nil || about < tt.estimate*95/100 || about > tt.estimate*105/100 {
			t.Errorf("%q is estimated at %d, %v; want about %d", tt.query, about, err, tt.estimate)
		}
	}
}

// What a search costs must not grow with those whom it doesn't find.
func TestSearchUsesTheIndex(t *testing.T) {
	f := open(t)
	deletion := `DELETE FROM terms WHERE (segment, term, person) IN (VALUES ($1, $2, $3), ($4, $5, $6))`
	bad := []string{"SCAN t", "SCAN p", "SCAN terms"}
	if f.db.Dialect == database.Postgres {
		deletion = `DELETE FROM terms WHERE (segment, term, person) IN (VALUES (CAST($1 AS BIGINT), $2, CAST($3 AS BIGINT)), ($4, $5, $6))`
		bad = []string{"Seq Scan on terms", "Seq Scan on people", "Bitmap Heap Scan", "Hash Join"}
		all := crowd(30_000)
		for people := range slices.Chunk(all, 10_000) {
			f.apply(people...)
		}
		if _, err := f.db.Exec(`ANALYZE`); err != nil { // as the server does by itself after a while
			t.Fatal(err)
		}
	} else {
		f.apply(crowd(10)...)
	}
	for query, args := range map[string][]any{
		store.Candidates[f.db.Dialect]: {"crowd", "crowe", 0, 0, "a", 0, 10},
		store.HoldersOf[f.db.Dialect]:  {"user5@example.org"}, // the few that there are, it sorts
		deletion:                       {0, "a", 1, 0, "b", 2},
	} {
		steps := f.plan(query, args...)
		for _, step := range steps {
			if slices.ContainsFunc(bad, func(s string) bool { return strings.Contains(step+" ", s+" ") }) ||
				strings.Contains(step, "TEMP B-TREE") && query != store.HoldersOf[f.db.Dialect] {
				t.Errorf("%s\n%s", query, strings.Join(steps, "\n"))
			}
		}
	}
}

// plan is how the database means to answer a query, a step a line.
func (f *fixture) plan(query string, args ...any) (steps []string) {
	f.t.Helper()
	explain := map[database.Dialect]string{database.SQLite: `EXPLAIN QUERY PLAN `, database.Postgres: `EXPLAIN `}[f.db.Dialect]
	rows, err := f.db.QueryContext(f.t.Context(), explain+query, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var step string
		var unused [3]any
		dest := []any{&unused[0], &unused[1], &unused[2], &step}
		if f.db.Dialect == database.Postgres {
			dest = dest[3:]
		}
		if err := rows.Scan(dest...); err != nil {
			f.t.Fatal(err)
		}
		steps = append(steps, step)
	}
	return steps
}

func BenchmarkSearch(b *testing.B) {
	f := open(b)
	all := crowd(100_000)
	for i := 0; i < len(all); i += 10_000 {
		f.apply(all[i : i+10_000]...)
	}
	for name, query := range map[string]string{"one": "user54321@", "everybody": "crowd"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := f.Search(b.Context(), query, nil, 51); err != nil {
					b.Fatal(err)
				}
				if _, err := f.CountMatches(b.Context(), query, 10_001); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Millisecond), "ms/search")
		})
	}
}
