package door

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

const (
	maxEmail = 254 // bytes: the longest path of RFC 5321, without its angle brackets
	maxName  = 200 // characters
)

// readCreate returns what a POST asks for, or the problem that names all its faults. What it returns is what is stored:
// the address as it was written, the name without white space around it.
func readCreate(body []byte) (email, name string, err error) {
	var m usersv1.CreateUserRequest
	faults, err := parse(body, &m)
	if err != nil {
		return "", "", err
	}
	faults = append(faults, unlessFaulty(faults, "email", func() string { return checkEmail(m.GetEmail()) })...)
	name = strings.TrimSpace(m.GetName())
	faults = append(faults, unlessFaulty(faults, "name", func() string { return checkName(name) })...)
	if len(faults) > 0 {
		return "", "", badFields(faults)
	}
	return m.GetEmail(), name, nil
}

// readUpdate returns what a PATCH asks for, or the problem that names all its faults. A field that is absent or null is
// left alone; an empty one is a value, and none that a user may have.
func readUpdate(body []byte) (c store.Change, err error) {
	var m usersv1.UpdateUserRequest
	faults, err := parse(body, &m)
	if err != nil {
		return c, err
	}
	if m.Email != nil {
		c.Email = m.Email
		faults = append(faults, unlessFaulty(faults, "email", func() string { return checkEmail(*m.Email) })...)
	}
	if m.Name != nil {
		name := strings.TrimSpace(*m.Name)
		c.Name = &name
		faults = append(faults, unlessFaulty(faults, "name", func() string { return checkName(name) })...)
	}
	if len(faults) > 0 {
		return store.Change{}, badFields(faults)
	}
	return c, nil
}

// unlessFaulty returns what check finds wrong with a field that nothing has been found wrong with before.
func unlessFaulty(faults []fault, field string, check func() string) []fault {
	if slices.ContainsFunc(faults, func(f fault) bool { return f.Field == field }) {
		return nil
	}
	if detail := check(); detail != "" {
		return []fault{{field, detail}}
	}
	return nil
}

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
	n := utf8.RuneCountInString(s)
	switch {
	case s == "":
		return required
	case n > maxName:
		return fmt.Sprintf("has %d characters; a name has at most %d", n, maxName)
	case strings.ContainsFunc(s, breaksLine):
		return "has a line break or another control character; a name is one line"
	case !strings.ContainsFunc(s, isVisible):
		return "has nothing in it that can be seen"
	}
	return ""
}

// breaksLine finds what a name in one line of a log, a mail's header or a terminal must not have in it.
func breaksLine(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

func isVisible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }
