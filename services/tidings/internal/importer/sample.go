package importer

import (
	"fmt"
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
			if !yield(row, nil) {
				return
			}
		}
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
