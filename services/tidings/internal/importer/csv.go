package importer

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxRecord bounds the lines of one row. A quote that is opened by mistake makes one row of all lines up to the next
// quote; a row that is meant to have line breaks, in another column than ours, has few.
const maxRecord = 10

func readCSV(text *lines, yield func(Row, error) bool) {
	in := &record{text: text}
	c := csv.NewReader(in)
	c.FieldsPerRecord = -1 // a short row is a bad row, not the end
	c.ReuseRecord = true
	columns, err := header(c)
	if err != nil {
		yield(Row{}, err)
		return
	}
	for {
		in.begin()
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err := in.fatal(err); err != nil {
			yield(Row{}, err)
			return
		}
		if !yield(in.row(fields, err, columns), nil) {
			return
		}
	}
}

// columns are where those of a file stand that are looked at, by the names of their fields.
type columns map[string]int

// header finds the columns. A file must have that of the address, and that of the name or one of its parts.
func header(c *csv.Reader) (columns, error) {
	record, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the input is empty; its first line must name the columns email and name")
	}
	if err != nil {
		return nil, fmt.Errorf("the first line can't be read: %w", err)
	}
	found := make(columns)
	for _, f := range fields() {
		if i := slices.IndexFunc(record, func(name string) bool { return f.is(strings.TrimSpace(name)) }); i >= 0 {
			found[f.name] = i
		}
	}
	if found.width() == 0 {
		return nil, fmt.Errorf("the first line must name the columns email and name; it is %q", strings.Join(record, ","))
	}
	return found, nil
}

// width is how many columns a row must have: up to the address and the name, or what parts of it there are; 0 where the
// file lacks one of the two. What else a row may have may be missing at its end.
func (c columns) width() int {
	last := func(names ...string) int {
		at := -1
		for _, name := range names {
			if i, there := c[name]; there {
				at = max(at, i)
			}
		}
		return at
	}
	email, name := last("email"), last("name")
	if name < 0 {
		name = last("givenName", "familyName")
	}
	if email < 0 || name < 0 {
		return 0
	}
	return max(email, name) + 1
}

// record is what a csv.Reader reads from, and keeps the lines of the row that is being read. A Read ends with its
// line, so that the csv.Reader never holds more than it has parsed.
type record struct {
	text  *lines
	rest  []byte // of the line that is being read
	raw   []byte
	start int // the number of the row's first line; 0 before it
	lines int
	ended bool // the input is at its end
}

var errTooManyLines = fmt.Errorf("the row goes on for more than %d lines, as behind a quote that is not closed", maxRecord)

func (r *record) begin() { r.raw, r.start, r.lines = r.raw[:0], 0, 0 }

// Read is io.Reader's.
func (r *record) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *record) next() error {
	if r.lines == maxRecord {
		return errTooManyLines
	}
	line, err := r.text.next()
	if err != nil {
		r.ended = errors.Is(err, io.EOF)
		return err
	}
	r.rest = line
	if r.start == 0 && len(bytes.TrimRight(line, "\r\n")) == 0 {
		return nil // between rows, where the csv.Reader passes it over
	}
	if r.start == 0 {
		r.start = r.text.number
	}
	r.raw = append(r.raw, line...)
	r.lines++
	return nil
}

// fatal returns the error that ends the reading, if err does: what is wrong in one line is a bad row, but a quote that
// goes astray over several has swallowed rows, nobody knows which.
func (r *record) fatal(err error) error {
	var broken *csv.ParseError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &broken):
		line := r.start
		if line == 0 {
			line = r.text.number + 1
		}
		return endedAt(line, err)
	case broken.Line == broken.StartLine:
		return nil
	}
	if r.ended {
		return endedAt(broken.StartLine, errors.New("a quote is opened and never closed"))
	}
	return endedAt(broken.StartLine, fmt.Errorf("a quote is opened, and one on line %d stands where none can", broken.Line))
}

func (r *record) row(values []string, err error, at columns) Row {
	row := Row{Line: r.start}
	switch need := at.width(); {
	case err != nil:
		row.Err = quoteFault(err)
	case len(values) < need:
		row.Err = fmt.Errorf("the row has %d columns; it must have %d", len(values), need)
	default:
		for _, f := range fields() {
			if column, there := at[f.name]; there && column < len(values) {
				text, fault := csvText(f.name, values[column])
				*f.of(&row), row.Err = text, cmp.Or(row.Err, fault)
			}
		}
	}
	if row.Err != nil {
		row.Raw = string(bytes.TrimRight(r.raw, "\r\n"))
	}
	return row
}

func quoteFault(err error) error {
	if errors.Is(err, csv.ErrBareQuote) {
		return errors.New(`a " stands in a field that does not begin with one`)
	}
	return errors.New(`a " is opened and not closed where the field ends`)
}

func csvText(field, text string) (string, error) {
	switch {
	case !utf8.ValidString(text):
		return "", fmt.Errorf("%s: is not UTF-8", field)
	case strings.ContainsAny(text, "\r\n"):
		return "", fmt.Errorf("%s: has a line break; is a quote not closed?", field)
	}
	return text, nil
}
