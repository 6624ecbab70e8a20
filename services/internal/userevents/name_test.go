package userevents_test

import (
	"testing"

	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

const (
	unsaid      = eventsv2.NameOrder_NAME_ORDER_UNSPECIFIED
	givenFirst  = eventsv2.NameOrder_NAME_ORDER_GIVEN_FIRST
	familyFirst = eventsv2.NameOrder_NAME_ORDER_FAMILY_FIRST
)

func TestSplit(t *testing.T) {
	for _, c := range []struct{ about, name, given, family string }{
		{"two words", "Ada Lovelace", "Ada", "Lovelace"},
		{"three words", "Ada Augusta Lovelace", "Ada Augusta", "Lovelace"},
		{"one word", "Ada", "Ada", ""},
		{"no Latin letters", "孔 丘", "孔", "丘"},
		{"a family name kept together", "Juana de\u00a0la\u00a0Cruz", "Juana", "de\u00a0la\u00a0Cruz"},
		{"a tab, which is no space", "Ada\tLovelace", "Ada\tLovelace", ""},
		{"two spaces", "Ada  Lovelace", "Ada ", "Lovelace"},
		{"spaces in several places", "Ada  Augusta   Lovelace", "Ada  Augusta  ", "Lovelace"},
		{"a hyphen", "Jean-Luc Picard-Dupont", "Jean-Luc", "Picard-Dupont"},
		// What the owner of users never stores.
		{"nothing", "", "", ""},
		{"a space", " ", " ", ""},
		{"spaces", "   ", "   ", ""},
		{"a space in front", " Ada", " Ada", ""},
		{"a space behind", "Ada ", "Ada ", ""},
		{"a space behind two words", "Ada Lovelace ", "Ada Lovelace ", ""},
		{"a space in front of two words", " Ada Lovelace", " Ada", "Lovelace"},
	} {
		t.Run(c.about, func(t *testing.T) {
			given, family := userevents.Split(c.name)
			if given != c.given || family != c.family {
				t.Errorf("Split(%q) = %q, %q, want %q, %q", c.name, given, family, c.given, c.family)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	for _, c := range []struct {
		given, family string
		order         eventsv2.NameOrder
		want          string
	}{
		{"Ada", "Lovelace", unsaid, "Ada Lovelace"},
		{"Ada", "Lovelace", givenFirst, "Ada Lovelace"},
		{"Ilona", "Nagy", familyFirst, "Nagy Ilona"},
		{"Ada", "Lovelace", 99, "Ada Lovelace"}, // of a release to come
		{"Ada", "Lovelace", -1, "Ada Lovelace"},
		{"Ada", "", unsaid, "Ada"},
		{"Ada", "", familyFirst, "Ada"},
		{"", "Lovelace", givenFirst, "Lovelace"},
		{"", "Nagy", familyFirst, "Nagy"},
		{"", "", familyFirst, ""},
		{"Ada ", "Lovelace", givenFirst, "Ada  Lovelace"},
	} {
		if got := userevents.Join(c.given, c.family, c.order); got != c.want {
			t.Errorf("Join(%q, %q, %v) = %q, want %q", c.given, c.family, c.order, got, c.want)
		}
	}
}

// A reader that knows v2 alone, of a name that v1 told, can say it as v1 did.
func FuzzSplitLosesNothing(f *testing.F) {
	for _, name := range []string{
		"Ada", "Ada Lovelace", "Ada Augusta Lovelace", "Ada  Lovelace", "A  B   C", "孔 丘", "Ma\u0301ria Nagy", "Juana de\u00a0la\u00a0Cruz",
		"", " ", "  ", " Ada", "Ada ", " Ada ", " Ada Lovelace ", "Ada\tLovelace", "\u2003Ada\u2003Lovelace", "\xff \xfe", "\x00 \x00",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		given, family := userevents.Split(name)
		for _, order := range []eventsv2.NameOrder{unsaid, givenFirst, 99} {
			if got := userevents.Join(given, family, order); got != name {
				t.Errorf("%q comes back as %q by way of %q and %q", name, got, given, family)
			}
		}
		if given == "" && name != "" {
			t.Errorf("%q has the family name %q alone: a name of one part is given", name, family)
		}
	})
}
