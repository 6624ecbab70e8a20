package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/directory/internal/store"
)

// history is what a random publisher tells of a few people: each field absent, empty or set, now and then a deletion, a
// repeat, and something that is older than what was told before.
func history(rnd *rand.Rand, prefix string, n int) []store.Person {
	told := make([]store.Person, 0, n)
	versions := make(map[string]uint64)
	some := func(words ...string) *string {
		switch i := rnd.IntN(len(words) + 2); i {
		case 0:
			return nil
		case 1:
			return new("")
		default:
			return new(words[i-2])
		}
	}
	for range n {
		id := fmt.Sprint(prefix, rnd.IntN(4))
		switch rnd.IntN(8) {
		case 0: // again
		case 1:
			versions[id] -= min(versions[id], uint64(rnd.IntN(3)))
		default:
			versions[id] += 1 + uint64(rnd.IntN(2))
		}
		p := person(id, versions[id], id+"@example.org", []string{"Ada", "Ada Byron", "Countess"}[rnd.IntN(3)])
		p.DisplayName = some("Countess", "ada", "Enchantress of Numbers")
		p.Locale, p.Phone = some("de-CH", "en"), some("+41443643232")
		if rnd.IntN(2) == 0 {
			p.Parts = &store.Parts{Given: "Ada", Family: []string{"", "Byron"}[rnd.IntN(2)], Order: int32(rnd.IntN(5)) * 1_000_000 / 3}
		}
		if p.Deleted = rnd.IntN(10) == 0; p.Deleted && rnd.IntN(2) == 0 {
			p = deleted(id, p.Version) // else one that says more than it should
		}
		told = append(told, p)
	}
	return told
}

// model is what people are after a history, each told on their own and in order.
func model(told []store.Person) []string {
	now := make(map[string]store.Person)
	for _, p := range told {
		was, known := now[p.ID]
		if known && p.Version < was.Version {
			continue
		}
		if p.Deleted {
			p = deleted(p.ID, p.Version)
		} else {
			if p.DisplayName == nil {
				p.DisplayName = was.DisplayName
			}
			if p.Locale == nil {
				p.Locale = was.Locale
			}
			if p.Phone == nil {
				p.Phone = was.Phone
			}
			if p.Parts == nil {
				p.Parts = was.Parts
			}
		}
		now[p.ID] = p
	}
	var lines []string
	for _, p := range now {
		lines = append(lines, line(p))
	}
	slices.Sort(lines)
	return lines
}

// line is p as content has it.
func line(p store.Person) string {
	text := func(s *string) string {
		if s == nil {
			return "NULL"
		}
		return fmt.Sprintf("%q", *s)
	}
	times, parts := "NULL NULL", "NULL NULL NULL"
	if !p.Deleted {
		times = fmt.Sprintf(`"%d" "%d"`, p.CreateTime.UnixNano(), p.UpdateTime.UnixNano())
	}
	if p.Parts != nil {
		parts = fmt.Sprintf(`%q %q "%d"`, p.Parts.Given, p.Parts.Family, p.Parts.Order)
	}
	// Plain words only, so that their terms are known without the code that is tested.
	words := p.Email + " " + p.Name
	if p.DisplayName != nil {
		words += " " + *p.DisplayName
	}
	terms := strings.Fields(strings.ToLower(words))
	slices.Sort(terms)
	return fmt.Sprintf(`deleted %v %q "%d" %q %q %s %s %s %s %s %s`, p.Deleted, p.ID, p.Version, p.Email, p.Name, times,
		text(p.DisplayName), text(p.Locale), text(p.Phone), parts, strings.Join(slices.Compact(terms), ","))
}

// What is stored, and what people are found by, is what was told of them one after the other, wherever a batch ends.
func TestAbsentKeepsAndEmptyClearsWhereverABatchEnds(t *testing.T) {
	f := open(t)
	var want []string
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		told := history(rnd, fmt.Sprintf("s%02d-", seed), 60)
		want = append(want, model(told)...)
		longest := 1 + rnd.IntN(20)
		for rest := told; len(rest) > 0; {
			n := min(1+rnd.IntN(longest), len(rest))
			f.applyUnchecked(rest[:n]...)
			rest = rest[n:]
		}
	}
	f.check()
	got := f.content()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The few cases that matter most, one by one, each in one batch and in two.
func TestAbsentIsNotEmpty(t *testing.T) {
	full := person("ada", 1, "ada@example.org", "Ada Byron")
	full.DisplayName, full.Locale, full.Phone = new("Countess"), new("en-GB"), new("+441")
	full.Parts = &store.Parts{Given: "Ada", Family: "Byron", Order: 77}
	absent := person("ada", 2, "ada@example.org", "Ada King")
	empty := absent
	empty.DisplayName, empty.Locale, empty.Phone, empty.Parts = new(""), new(""), new(""), &store.Parts{}
	for _, c := range []struct {
		about    string
		told     []store.Person
		display  *string
		parts    *store.Parts
		countess string // whom the word of the display name finds
	}{
		{"absent keeps", []store.Person{full, absent}, new("Countess"), full.Parts, "Ada King"},
		{"empty clears", []store.Person{full, empty}, new(""), &store.Parts{}, ""},
		{"never told of", []store.Person{absent}, nil, nil, ""},
		{"told of later", []store.Person{absent, later(full, 3)}, new("Countess"), full.Parts, "Ada Byron"},
		{"cleared and kept so", []store.Person{full, empty, later(absent, 3)}, new(""), &store.Parts{}, ""},
		{"gone with a deletion", []store.Person{full, deleted("ada", 2), later(absent, 3)}, nil, nil, ""},
		{"not of an older version", []store.Person{later(absent, 5), later(full, 4), later(absent, 6)}, nil, nil, ""},
	} {
		for cut := range len(c.told) {
			t.Run(fmt.Sprint(c.about, " ", cut), func(t *testing.T) {
				f := open(t)
				f.apply(c.told[:cut]...)
				f.apply(c.told[cut:]...)
				got, err := f.Get(t.Context(), "ada")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.display, got.DisplayName) + cmp.Diff(c.parts, got.Parts); diff != "" {
					t.Error(diff)
				}
				if found := f.search("countess"); found != c.countess {
					t.Errorf("found %q, want %q", found, c.countess)
				}
			})
		}
	}
}

// later is p as of another version.
func later(p store.Person, version uint64) store.Person {
	p.Version = version
	return p
}

// What no database can hold is mended in every field, and alike: a search for it goes the same way.
func TestTextsThatADatabaseCannotHoldAreMended(t *testing.T) {
	f := open(t)
	p := person("nul", 1, "nul@example.org", "N\x00L")
	p.DisplayName, p.Locale, p.Phone = new("d\x00\xff"), new("l\x00"), new("p\x00")
	p.Parts = &store.Parts{Given: "g\x00", Family: "f\xff", Order: -5}
	f.apply(p)
	got, err := f.Get(t.Context(), "nul")
	if err != nil {
		t.Fatal(err)
	}
	want := p
	want.Name = "N\uFFFDL"
	want.DisplayName, want.Locale, want.Phone = new("d\uFFFD\uFFFD"), new("l\uFFFD"), new("p\uFFFD")
	want.Parts = &store.Parts{Given: "g\uFFFD", Family: "f\uFFFD", Order: -5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if *p.DisplayName != "d\x00\xff" || p.Parts.Given != "g\x00" {
		t.Error("what the caller has was changed")
	}
}

// The index holds the beginning of a word, and the rest is compared with the row, as that of a name is.
func TestALongWordOfADisplayNameIsFoundWhole(t *testing.T) {
	f := open(t)
	long := strings.Repeat("Wolfeschlegelsteinhausen", 20)
	p := person("1", 1, "long@example.org", "Short")
	p.DisplayName = new("The " + long + "x")
	f.apply(p)
	if got := f.search(long) + f.search(long+"X") + f.search(long+"y"); got != "ShortShort" {
		t.Errorf("found %q", got)
	}
}
