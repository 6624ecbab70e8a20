package door

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
)

const (
	maxEmail  = 254 // bytes: the longest path of RFC 5321, without its angle brackets
	maxName   = 200 // characters, also of a display name
	maxLocale = 35  // bytes: what RFC 5646 (4.4.1) wants everybody to have room for
)

// required is what is wrong with a field that is not there, or empty: protobuf tells no difference in a POST.
const required = "is required"

// checkEmail says what is wrong with an address, or nothing. It must be one address alone, in the form without
// quotes and comments in which addresses are passed on (ada@example.org). Letters of all scripts are taken, in front
// of the @ and behind it (RFC 6531), and no dot is asked for behind it: there are hosts without one. Whether mail
// arrives there, only a mail can tell.
func checkEmail(s string) string {
	switch {
	case s == "":
		return required
	case len(s) > maxEmail:
		return fmt.Sprintf("has %d bytes; an address has at most %d", len(s), maxEmail)
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s || strings.ContainsFunc(s, notInAddress) || !isHost(s[strings.LastIndexByte(s, '@')+1:]) {
		return quote(s) + " is not an address"
	}
	return ""
}

// notInAddress finds what net/mail lets pass beyond ASCII: white space, control characters, and what can't be seen.
// Joiners are spelling in Persian and in scripts of India.
func notInAddress(r rune) bool {
	return !isJoiner(r) && (unicode.IsSpace(r) || !unicode.IsGraphic(r))
}

func isJoiner(r rune) bool { return r == '\u200c' || r == '\u200d' }

// isHost reports whether s may be the name of a host: letters, digits and hyphens, and in other scripts what IDNA
// may allow.
func isHost(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		ascii := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.'
		return r < utf8.RuneSelf && !ascii
	})
}

// checkName says what is wrong with a name, from which white space around it was removed, or nothing. It counts
// characters, not bytes, so that a name may be as long in one script as in another.
func checkName(s string) string {
	if s == "" {
		return required
	}
	return checkLine(s)
}

// checkLine says what is wrong with what is to be a name of some kind in one line, or nothing; it may be empty.
func checkLine(s string) string {
	n := utf8.RuneCountInString(s)
	switch {
	case n > maxName:
		return fmt.Sprintf("has %d characters; a name has at most %d", n, maxName)
	case strings.ContainsFunc(s, breaksLine):
		return "has a line break or another control character; a name is one line"
	case s != "" && !strings.ContainsFunc(s, isVisible):
		return "has nothing in it that can be seen"
	}
	return ""
}

// breaksLine finds what a name in one line of a log, a mail's header or a terminal must not have in it.
func breaksLine(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

func isVisible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// readLocale returns a language tag in its canonical form (BCP 47), or what is wrong with it; "" is none. Language,
// script, region and variants must be registered ones. What is outdated becomes what has taken its place (iw is he),
// and a script that the language is written in anyway is left out (en-Latn is en).
func readLocale(s string) (tag, detail string) {
	if s == "" {
		return "", ""
	}
	if len(s) > maxLocale {
		return "", fmt.Sprintf("has %d bytes; a language tag has at most %d here", len(s), maxLocale)
	}
	t, err := language.BCP47.Parse(s)
	tag = t.String()
	// The package takes names of ICU too (de_DE, root), and puts longer ones in the place of some old tags.
	if err != nil || strings.Contains(s, "_") || strings.EqualFold(s, "root") || len(tag) > maxLocale {
		return "", quote(s) + " is not a language tag (BCP 47) that is known; write it like de-CH"
	}
	return tag, ""
}

// Digits of a number with its country code (E.164). No country has one digit for all of a number.
const (
	minDigits = 2
	maxDigits = 15
)

// readPhone returns a number as E.164 has it, or what is wrong with it; "" is none. What people put between digits to
// read them better is removed. A zero in brackets is refused, though: it is dialled inside the country only, and with it
// the number would be another one.
func readPhone(s string) (number, detail string) {
	if s == "" {
		return "", ""
	}
	digits, plus := strings.CutPrefix(s, "+")
	number = strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.()\u2010\u2011", r) || unicode.Is(unicode.Zs, r) {
			return -1
		}
		return r
	}, digits)
	switch n := len(number); {
	case !plus, strings.ContainsFunc(number, notDigit), n == 0, notDigit(rune(digits[0])), notDigit(rune(digits[len(digits)-1])):
		return "", quote(s) + " is not a number with its country code; write it like +41443643232"
	case strings.Contains(strings.Map(notSpace, digits), "(0)"):
		return "", quote(s) + " has a zero in brackets; leave it out, as who calls from abroad does"
	case number[0] == '0':
		return "", quote(s) + " has a zero behind the plus; a country code has none there"
	case n < minDigits || n > maxDigits:
		return "", fmt.Sprintf("has %d digits; a number has %d to %d", n, minDigits, maxDigits)
	}
	return "+" + number, ""
}

// notSpace leaves white space out of what [strings.Map] goes through.
func notSpace(r rune) rune {
	if unicode.IsSpace(r) {
		return -1
	}
	return r
}

func notDigit(r rune) bool { return r < '0' || r > '9' }
