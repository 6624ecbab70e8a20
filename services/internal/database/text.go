package database

import (
	"strings"
	"unicode/utf8"
)

// Text returns s as every database can hold it: Postgres takes neither a zero byte nor bytes that are no UTF-8, and
// would refuse the row. U+FFFD stands in their place. Give it what comes from outside, when it is stored and when it
// is looked for, on either database, so that both hold the same.
func Text(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
