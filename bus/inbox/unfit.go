package inbox

import (
	"fmt"
	"strings"

	"github.com/tidings-dev/tidings/bus"
)

const (
	// maxVersion bounds the versions that are taken: numbers in a database have 63 bits, and their sum must fit too.
	maxVersion = 1 << 48
	// maxText bounds the attributes that tell events apart, in bytes: two of them, and a group's name, must fit into an
	// entry of an index, which on Postgres has 2,704.
	maxText = 1024
)

// unfit says why an event can't be taken whatever its type; nil where it can. It is decided alike for every database,
// so that a service does not come to other results on another one; and a text is never mended, for two keys that
// become one would share a mark.
func unfit(e *bus.Event) error {
	switch {
	case e.Err != nil:
		return e.Err
	case e.Version > maxVersion:
		return fmt.Errorf("version %d is above %d", e.Version, uint64(maxVersion))
	}
	for _, a := range [...]struct{ name, value string }{{"source", e.Source}, {"key", e.Key}, {"id", e.ID}, {"type", e.Type}} {
		if why := unfitText(a.value); why != "" {
			return fmt.Errorf("its %s, %.64q, %s", a.name, a.value, why)
		}
	}
	return nil
}

// unfitText says why not every database takes s as the key of a row; "" where it does. The bus has seen to it that it
// is UTF-8.
func unfitText(s string) string {
	switch {
	case len(s) > maxText:
		return fmt.Sprintf("has %d bytes, and %d is the most", len(s), maxText)
	case strings.IndexByte(s, 0) >= 0:
		return "has a NUL, which no text of Postgres may hold"
	}
	return ""
}

// unfitNumbering reports whether a numbering can't be followed, for its names are no texts of a database.
func unfitNumbering(source, log string) bool { return unfitText(source) != "" || unfitText(log) != "" }

// text8 makes a text of s that every database takes, for people to read: the key of a record that is no event can be
// any bytes.
func text8(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// short8 is text8 of what stands in an index.
func short8(s string) string {
	if len(s) > maxText {
		s = s[:maxText-len("…")] + "…"
	}
	return text8(s)
}
