package store

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	// maxTerm bounds a term in bytes; of a longer word only its beginning is indexed, and the rest is compared with
	// the person's own row. Queries hold 254 bytes, so folding has to lengthen one for that to happen at all.
	maxTerm = 256
	// maxTerms bounds the terms of one person, for an event that holds a book in place of a name.
	maxTerms = 128
)

// Fold returns s in the form in which it is compared: without regard to case (Unicode case folding), to how a letter
// is put together (é, e with an accent) or drawn (ﬁ, wide and circled letters: NFKC), and to white space around it;
// white space inside becomes single spaces.
func Fold(s string) string {
	if isASCII(s) {
		s = strings.ToLower(s)
	} else {
		// The order of The Unicode Standard's compatibility caseless matching (D146): folding can undo what
		// normalising did, and the other way round.
		s = cases.Fold().String(norm.NFD.String(s))
		s = cases.Fold().String(norm.NFKD.String(s))
		s = norm.NFKC.String(s)
	}
	return strings.Join(strings.FieldsFunc(s, isSpace), " ")
}

// foldEmail is Fold for an address that is compared whole: letters that are only drawn differently stay different,
// for they are different addresses.
func foldEmail(s string) string {
	if isASCII(s) {
		return strings.ToLower(strings.TrimFunc(s, isSpace))
	}
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(strings.TrimFunc(s, isSpace))))
}

// isASCII says that s needs no tables of Unicode to be folded, as most addresses and many names don't.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isSpace takes control characters for white space: a term holds neither, so that terms can stand between newlines.
func isSpace(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// termsOf returns what a person is found by, sorted, each once: the address and every word of the name and of the
// display name. A word that has words inside it is found by each of them: o'brien-smith, brien-smith, smith.
func termsOf(p *Person) []string {
	terms := make([]string, 0, 4)
	eachTerm(p, func(term string) bool {
		if term = cut(term); term != "" {
			terms = append(terms, term)
		}
		return len(terms) < maxTerms
	})
	slices.Sort(terms)
	return slices.Compact(terms)
}

// eachTerm calls fn for the terms of a person at full length until it returns false.
func eachTerm(p *Person, fn func(term string) bool) {
	if !fn(Fold(p.Email)) || !eachWord(p.Name, fn) || p.DisplayName == nil {
		return
	}
	eachWord(*p.DisplayName, fn)
}

// eachWord calls fn for the terms of a name until it returns false, and returns what it has returned last.
func eachWord(name string, fn func(term string) bool) bool {
	for word := range strings.SplitSeq(Fold(name), " ") {
		inside := true // whether the rune before belongs to a word; at the start, the whole word is a term as it is
		if !fn(word) {
			return false
		}
		for i, r := range word {
			was := inside
			inside = isWord(r)
			if i > 0 && inside && !was && !fn(word[i:]) {
				return false
			}
		}
	}
	return true
}

// isWord reports whether r belongs to a word; what doesn't, an apostrophe or a hyphen, ends one.
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) }

// cut returns the first maxTerm bytes of a term, less what would split a rune.
func cut(term string) string {
	if len(term) <= maxTerm {
		return term
	}
	n := maxTerm
	for !utf8.RuneStart(term[n]) {
		n--
	}
	return term[:n]
}

// topTerm is above every term.
var topTerm = strings.Repeat(string(utf8.MaxRune), maxTerm/utf8.UTFMax+1)

// behind returns the least string that is above every string that begins with prefix, in the order of bytes, which
// for UTF-8 is that of code points; topTerm where there is none.
func behind(prefix string) string {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == utf8.MaxRune:
			continue
		case r+1 == 0xD800: // surrogates are not in UTF-8
			return prefix + string(rune(0xE000))
		}
		return prefix + string(r+1)
	}
	return topTerm
}
