package tail

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// What came from outside must not write on the terminal by itself: no control character, no escape sequence, nothing
// that turns the direction of the text around, nothing that can't be seen.

// word is s as one word: as it is where it is nothing but letters, digits and signs, "-" where it is empty, else quoted.
func word(s string) string {
	if s == "" {
		return "-"
	}
	if s == "-" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == '"' || hidden(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// printable is s in one line, with what is not printable escaped as in Go.
func printable(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// hidden reports whether r is no character that can be seen, or a space. Bytes that are not UTF-8 come as U+FFFD, which
// is no better.
func hidden(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

// escaped returns JSON in which everything that is not printable is escaped. Outside of its strings JSON has nothing of
// the kind but white space, and ours has none that is not a space.
func escaped(raw []byte) []byte {
	safe := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		switch {
		case !hidden(r):
			safe = append(safe, raw[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
		raw = raw[n:]
	}
	return safe
}
