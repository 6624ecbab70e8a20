package importer

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/brianvoe/gofakeit/v7"
)

// Sample makes n people up. The same seed always gives the same people, so that an import that was cut off can be
// run again; people of different seeds have different addresses.
func Sample(n int, seed uint64) Rows {
	return func(yield func(Row, error) bool) {
		fake := gofakeit.New(seed)
		for i := range n {
			first, last := fake.FirstName(), fake.LastName()
			row := Row{Line: i + 1, Name: first + " " + last, Email: address(first, last, seed, i)}
			more(&row, first, seed)
			if !yield(row, nil) {
				return
			}
		}
	}
}

// plain is how many people at the start say nothing more of themselves, so that whoever looks at the first users, as the
// README does, sees the same of all: more than are on their way at a time.
const plain = 200

// more makes up what some of the people say of themselves: a third each of a display name, a locale and a number. It has
// chances of its own, by the seed and the line, so that names and addresses are those of 0.1.0, which made up no more.
func more(row *Row, first string, seed uint64) {
	if row.Line <= plain {
		return
	}
	chance := rand.New(rand.NewPCG(seed, uint64(row.Line)))
	if chance.IntN(3) == 0 {
		row.DisplayName = first
	}
	if locales := []string{"en-GB", "en-US", "de-CH", "fr-CA", "es-419", "pt-BR", "zh-Hant-TW"}; chance.IntN(3) == 0 {
		row.Locale = locales[chance.IntN(len(locales))]
	}
	if chance.IntN(3) == 0 {
		// A range that is set aside for films and the like, so that nobody is ever called.
		row.Phone = fmt.Sprintf("+44207946%04d", chance.IntN(1000))
	}
}

// address is in the domain that is set aside for examples, so that no mail ever reaches anybody.
func address(first, last string, seed uint64, i int) string {
	local := strings.ToLower(first + "." + last)
	local = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r == '.' {
			return r
		}
		return -1
	}, local)
	return fmt.Sprintf("%s.%d.%d@example.com", local, seed, i+1)
}
