package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Row is one user to be made. Err says, in words for people, why it can't be read as one; then its fields hold what
// could be, and Raw all of it. The fields are as the door takes them; where Name is not empty, the parts of it and their
// order are not looked at.
type Row struct {
	Line  int // in the input, the first is 1
	Email string
	Name  string

	DisplayName, Locale, Phone       string
	GivenName, FamilyName, NameOrder string

	Raw string // the row as it stands in the input, byte for byte but for its line's end; only with Err
	Err error
}

// Rows are read one by one. An error ends them: the input can't be read on.
type Rows = iter.Seq2[Row, error]

// Read reads CSV whose first line names the columns email and name, in any order and among others, or JSON lines,
// each an object with those members. There may also be display_name, locale, phone, and in the place of name, or where
// that is empty, given_name, family_name and name_order; each may be spelt as the door does (displayName). What else
// there is, is passed over. Which of the two r is shows in its first byte that is no white space. Nothing is read before
// the rows are asked for.
//
// Every row of the input is yielded, be it as a bad one, or an error names the line from which on nothing was read.
func Read(r io.Reader) Rows {
	return func(yield func(Row, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		if bom, _ := br.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
			_, _ = br.Discard(3) // peeked already
		}
		if text := (&lines{r: br}); firstByte(br) == '{' {
			readJSON(text, yield)
		} else {
			readCSV(text, yield)
		}
	}
}

// firstByte looks for the first byte that is no white space and leaves all where it is, for lines to be counted.
func firstByte(r *bufio.Reader) byte {
	for n := 1; ; n++ {
		ahead, err := r.Peek(n)
		if err != nil {
			return 0 // the end, an error that the next read finds again, or nothing but space for a whole buffer
		}
		if b := ahead[n-1]; b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b
		}
	}
}

// maxLine bounds a line, in bytes: more than any door takes as a body.
const maxLine = 1 << 20

// lines cuts a text into its lines.
type lines struct {
	r      *bufio.Reader
	number int // of the line that next returned last
	line   []byte
}

// next returns the next line with its end, valid until the next call, and io.EOF behind the last. Where the input
// breaks off with another error, the part of a line before it is no line: a name would be cut short.
func (l *lines) next() ([]byte, error) {
	l.line = l.line[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.line = append(l.line, part...)
		switch {
		case len(l.line) > maxLine:
			return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(l.line) == 0):
			return nil, err
		}
		l.number++
		return l.line, nil
	}
}

// endedAt says from where on nothing was read, and why.
func endedAt(line int, why error) error {
	return fmt.Errorf("line %d: %w; nothing from there on was read", line, why)
}
