package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/brianvoe/gofakeit/v7"
)

// Row is one user to be made. Err says why it can't be read as one; then the other fields hold what could be.
type Row struct {
	Line  int // in the input, the first is 1
	Email string
	Name  string
	Err   error
}

// Rows are read one by one. An error ends them: the input can't be read on.
type Rows = iter.Seq2[Row, error]

// maxLine bounds a line of JSON, in bytes: more than any door takes as a body.
const maxLine = 1 << 20

// Read reads CSV whose first line names the columns email and name, in any order and among others, or JSON lines,
// each an object with those members. Which of them r is shows in its first byte.
func Read(r io.Reader) Rows {
	br := bufio.NewReaderSize(r, 64<<10)
	if bom, _ := br.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = br.Discard(3) // peeked already
	}
	if first, _ := br.Peek(1); len(first) == 1 && first[0] == '{' {
		return readJSON(br)
	}
	return readCSV(br)
}

func readCSV(r io.Reader) Rows {
	return func(yield func(Row, error) bool) {
		c := csv.NewReader(r)
		c.FieldsPerRecord = -1 // a short row is a bad row, not the end
		c.ReuseRecord = true
		email, name, err := header(c)
		if err != nil {
			yield(Row{}, err)
			return
		}
		for {
			record, err := c.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			row, err := csvRow(c, record, err, email, name)
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// header finds the two columns.
func header(c *csv.Reader) (email, name int, err error) {
	record, err := c.Read()
	if errors.Is(err, io.EOF) {
		return 0, 0, errors.New("the input is empty; its first line must name the columns email and name")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the first line can't be read: %w", err)
	}
	columns := make([]string, len(record))
	for i, column := range record {
		columns[i] = strings.ToLower(strings.TrimSpace(column))
	}
	email, name = slices.Index(columns, "email"), slices.Index(columns, "name")
	if email < 0 || name < 0 {
		return 0, 0, fmt.Errorf("the first line must name the columns email and name; it is %q", strings.Join(record, ","))
	}
	return email, name, nil
}

func csvRow(c *csv.Reader, record []string, err error, email, name int) (Row, error) {
	var broken *csv.ParseError
	switch {
	case errors.As(err, &broken):
		return Row{Line: broken.StartLine, Err: broken.Err}, nil
	case err != nil:
		return Row{}, err
	}
	line, _ := c.FieldPos(0)
	row := Row{Line: line}
	if need := max(email, name); need >= len(record) {
		row.Err = fmt.Errorf("the row has %d columns; it must have %d", len(record), need+1)
		return row, nil
	}
	row.Email, row.Name = record[email], record[name]
	return row, nil
}

func readJSON(r *bufio.Reader) Rows {
	return func(yield func(Row, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 64<<10), maxLine)
		line := 0
		for lines.Scan() {
			line++
			text := bytes.TrimSpace(lines.Bytes())
			if len(text) > 0 && !yield(jsonRow(line, text), nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Row{}, fmt.Errorf("line %d: %w", line+1, err))
		}
	}
}

func jsonRow(line int, text []byte) Row {
	var user struct{ Email, Name *string }
	row := Row{Line: line}
	if row.Err = json.Unmarshal(text, &user); row.Err != nil {
		return row
	}
	if user.Email != nil {
		row.Email = *user.Email
	}
	if user.Name != nil {
		row.Name = *user.Name
	}
	return row
}

// Sample makes n people up. The same seed always gives the same people, so that an import that was cut off can be
// run again; people of different seeds have different addresses.
func Sample(n int, seed uint64) Rows {
	return func(yield func(Row, error) bool) {
		fake := gofakeit.New(seed)
		for i := range n {
			first, last := fake.FirstName(), fake.LastName()
			row := Row{Line: i + 1, Name: first + " " + last, Email: address(first, last, seed, i)}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// address is in the domain that is set aside for examples, so that no mail ever reaches anybody.
func address(first, last string, seed uint64, i int) string {
	local := strings.ToLower(first + "." + last)
	local = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r == '.' {
			return r
		}
		return -1
	}, local)
	return fmt.Sprintf("%s.%d.%d@example.com", local, seed, i+1)
}
