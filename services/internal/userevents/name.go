package userevents

import (
	"strings"

	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// space is what stands between the parts of a name: U+0020, and no other white space. One that does not break a line
// (U+00A0) is there to keep "de la Cruz" in one piece.
const space = " "

// Split returns the parts of a name that was given in one string: family is what stands behind its last space, and
// given all before it. A name of one word is given alone. It is a guess, and the only one that loses nothing:
//
//	Join(Split(name)) == name
//
// holds byte for byte, for every string. So of several spaces in a row at that place all but the last stay with given
// ("Ada  Lovelace" has the given name "Ada "), and a string whose last space stands at one of its ends is given as a
// whole: where there is a family name, both parts have something in them. The service that owns users stores no name
// with white space around it.
func Split(name string) (given, family string) {
	i := strings.LastIndex(name, space)
	if i <= 0 || i == len(name)-len(space) {
		return name, ""
	}
	return name[:i], name[i+len(space):]
}

// Join returns a name in one string: its parts in their order, with a space between where there are two. An order that
// this release does not know is as good as none: the given name first. The parts are taken as they are.
func Join(given, family string, order eventsv2.NameOrder) string {
	if given == "" || family == "" {
		return given + family
	}
	switch order {
	case eventsv2.NameOrder_NAME_ORDER_FAMILY_FIRST:
		return family + space + given
	default:
		return given + space + family
	}
}
