package schemadoc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// A document is a tree of these, of lists, and of texts, numbers and truth values. It has an order, so that a document
// is the same each time.
type object []member

type member struct {
	key   string
	value any
}

// list is an ordered list of values.
type list []any

// get returns a member; nil where there is none.
func (o object) get(key string) any {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

// MarshalJSON keeps the order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, m := range o {
		b.WriteByte("{,"[min(i, 1)])
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s:%s", quoted(m.key), value)
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// yamlOf writes a document in YAML. It writes what every version of YAML reads in the same way: what could be taken for
// anything but a text is quoted, as JSON does it, and texts of several lines stand as they are.
func yamlOf(o object) string {
	var y yamlWriter
	y.object(o, 0)
	return y.String()
}

type yamlWriter struct{ strings.Builder }

// object writes its members, a line each, behind depth times two spaces.
func (y *yamlWriter) object(o object, depth int) {
	for i, m := range o {
		if i > 0 || depth == 0 {
			y.indent(depth)
		}
		y.WriteString(plain(m.key) + ":")
		y.value(m.value, depth+1)
	}
}

func (y *yamlWriter) indent(depth int) { y.WriteString(strings.Repeat("  ", depth)) }

// value writes what stands behind a key, and the end of the line.
func (y *yamlWriter) value(v any, depth int) {
	switch v := v.(type) {
	case object:
		if len(v) == 0 {
			y.WriteString(" {}\n")
			return
		}
		y.WriteByte('\n')
		y.indent(depth)
		y.object(v, depth)
	case list:
		if len(v) == 0 {
			y.WriteString(" []\n")
			return
		}
		y.WriteByte('\n')
		for _, item := range v {
			y.indent(depth)
			y.WriteByte('-')
			y.item(item, depth)
		}
	case string:
		y.text(v, depth)
	default:
		fmt.Fprintf(y, " %v\n", v)
	}
}

// item writes what stands behind a dash.
func (y *yamlWriter) item(v any, depth int) {
	if o, ok := v.(object); ok && len(o) > 0 {
		y.WriteByte(' ')
		y.object(o, depth+1)
		return
	}
	y.value(v, depth+1)
}

// text writes a text of one line behind its key, and one of several below it.
func (y *yamlWriter) text(s string, depth int) {
	if !strings.Contains(s, "\n") || !blockText.MatchString(s) {
		y.WriteString(" " + plain(s) + "\n")
		return
	}
	y.WriteString(" |-\n")
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" {
			y.indent(depth)
		}
		y.WriteString(line + "\n")
	}
}

var (
	// blockText is what a block can hold as it is: no line ends, and the text doesn't begin, with a space; and nothing
	// but what is printed.
	blockText = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?(\n+( *[!-~]([ -~]*[!-~])?))*$`)
	// plainText is a text that nothing in YAML takes for anything else, but for the words below.
	plainText  = regexp.MustCompile(`^[A-Za-z_]([\w./ -]*[\w./-])?$`)
	otherWords = regexp.MustCompile(`(?i)^(y|n|yes|no|true|false|on|off|null|nan|inf)$`)
)

// plain is a text of one line, quoted unless it need not be.
func plain(s string) string {
	if plainText.MatchString(s) && !otherWords.MatchString(s) {
		return s
	}
	return quoted(s)
}

// quoted is a text in JSON's quotes, which are YAML's too.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a text, into memory
	return strings.TrimSuffix(b.String(), "\n")
}
