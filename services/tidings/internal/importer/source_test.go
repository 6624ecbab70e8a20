package importer

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// read is what Read gives: a row in a line, a bad one with its reason.
func read(t *testing.T, rows Rows) (lines []string, err error) {
	t.Helper()
	for row, err := range rows {
		if err != nil {
			return lines, err
		}
		line := row.Email + "|" + row.Name
		if row.Err != nil {
			line = "bad: " + row.Err.Error()
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func TestReadTakesCSVByTheNamesOfItsColumns(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"plain":                {"email,name\na@x.org,Ada\n", []string{"a@x.org|Ada"}},
		"other order and more": {"id,Name, EMAIL\n1,Ada,a@x.org\n", []string{"a@x.org|Ada"}},
		"byte order mark":      {"\ufeffemail,name\na@x.org,Ada\n", []string{"a@x.org|Ada"}},
		"CR LF, quotes":        {"email,name\r\na@x.org,\"Lovelace, Ada\"\r\n", []string{"a@x.org|Lovelace, Ada"}},
		"short row goes on": {
			"email,name\na@x.org\nb@x.org,Bob\n",
			[]string{"bad: the row has 1 columns; it must have 2", "b@x.org|Bob"},
		},
		"quote astray goes on": {
			"email,name\na\"b,Ada\nb@x.org,Bob\n",
			[]string{`bad: a " stands in a field that does not begin with one`, "b@x.org|Bob"},
		},
		"quote closed within its line goes on": {
			"email,name\na@x.org,\"A\"x\nb@x.org,Bob\n",
			[]string{`bad: a " is opened and not closed where the field ends`, "b@x.org|Bob"},
		},
		"quote open in the last line": {
			"email,name\nb@x.org,Bob\na@x.org,\"A\n",
			[]string{"b@x.org|Bob", `bad: a " is opened and not closed where the field ends`},
		},
		"line break in a name": {
			"email,name\nb@x.org,\"B\nc@x.org,\"\nd@x.org,Dan\n",
			[]string{"bad: name: has a line break; is a quote not closed?", "d@x.org|Dan"},
		},
		"line breaks in another column": {
			"email,name,note\r\na@x.org,Ada,\"one\r\n\r\ntwo\"\r\nb@x.org,Bob,\r\n",
			[]string{"a@x.org|Ada", "b@x.org|Bob"},
		},
		"empty lines between rows": {
			"email,name\n" + strings.Repeat("\n", 3*maxRecord) + "a@x.org,Ada\n\r\nb@x.org,Bob",
			[]string{"a@x.org|Ada", "b@x.org|Bob"},
		},
		"not UTF-8": {
			"email,name,note\na@x.org,J\xf6rg,\nj\xf6@x.org,J,\nc@x.org,C,\xff\n",
			[]string{"bad: name: is not UTF-8", "bad: email: is not UTF-8", "c@x.org|C"},
		},
		"header only": {"email,name\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, Read(strings.NewReader(c.in)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadTakesJSONLines(t *testing.T) {
	in := `{"email":"a@x.org","name":"Ada","more":1}

{"email":7,"name":"Bob"}
{"email":"c@x.org"}
not json
{"name":"Dan","email":"d@x.org"}`
	var got []Row
	for row, err := range Read(strings.NewReader(in)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row)
	}
	if len(got) != 5 {
		t.Fatalf("%d rows, want 5: %v", len(got), got)
	}
	if got[0] != (Row{Line: 1, Email: "a@x.org", Name: "Ada"}) || got[4] != (Row{Line: 6, Email: "d@x.org", Name: "Dan"}) {
		t.Errorf("rows %v", got)
	}
	if got[1].Err == nil || got[1].Line != 3 || got[3].Err == nil || got[3].Line != 5 {
		t.Errorf("bad rows without a reason: %v", got)
	}
	if got[2] != (Row{Line: 4, Email: "c@x.org"}) {
		t.Errorf("a row without a name is the door's to refuse: %v", got[2])
	}
}

func TestReadTakesJSONBehindWhiteSpace(t *testing.T) {
	for row, err := range Read(strings.NewReader("\ufeff\r\n \n\t{\"email\":\"a@x.org\",\"name\":\"Ada\"}\n")) {
		if want := (Row{Line: 3, Email: "a@x.org", Name: "Ada"}); err != nil || row != want {
			t.Errorf("row %v, %v; want %v", row, err, want)
		}
	}
}

func TestReadSaysInWordsWhatIsWrongWithJSON(t *testing.T) {
	for line, want := range map[string]string{
		`{"email":7,"name":"A"}`:                       "email: is a number, and must be a string",
		`{"email":"a@x.org","name":["A"]}`:             "name: is an array, and must be a string",
		`{"email":"a@x.org","name":{"a":1}}`:           "name: is an object, and must be a string",
		`{"email":true,"name":"A"}`:                    "email: is a boolean, and must be a string",
		`{"email":"a@x.org`:                            "is not JSON: unexpected end of JSON input",
		`["a@x.org","A"]`:                              "is an array, and must be an object with email and name",
		`"a@x.org"`:                                    "is a string, and must be an object with email and name",
		`null`:                                         "is null, and must be an object with email and name",
		"{\"email\":\"a@x.org\",\"name\":\"J\xf6rg\"}": "name: is not UTF-8",
		"{\"email\":\"\xff@x.org\",\"name\":\"J\"}":    "email: is not UTF-8",
		`{"email":"a@x.org","name":"\ud83d"}`:          `name: is not UTF-8: a \u escape is half of a character`,
	} {
		n := 0
		for row, err := range Read(strings.NewReader("{}\n" + line)) {
			if n++; n == 2 && (err != nil || row.Err == nil || row.Err.Error() != want || row.Raw != line) {
				t.Errorf("%s: row %+v, %v; want %q", line, row, err, want)
			}
		}
	}
}

// What stands for a character that could not be decoded is a character of its own, and may be in a name.
func TestReadKeepsTextAsItIs(t *testing.T) {
	for in, want := range map[string]string{
		`{"email":"a@x.org","name":"\ufffd \ud83d\ude00 ` + "\ufffd" + `"}`: "a@x.org|\ufffd 😀 \ufffd",
		"email,name\na@x.org,\ufffd 😀\n":                                    "a@x.org|\ufffd 😀",
		`{"email":null}`:                                                    "|",
	} {
		if got, err := read(t, Read(strings.NewReader(in))); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
}

// A quote astray makes one row of many. Each row of the input is yielded, or the error names the first that is not.
func TestReadEndsWhereAQuoteSwallowsRows(t *testing.T) {
	const begin = "email,name,note\na@x.org,Ada,\n"
	var many strings.Builder
	for range maxRecord {
		many.WriteString("c@x.org,C,\n")
	}
	for in, want := range map[string]string{
		"b@x.org,\"B\nc@x.org,C\nd@x.org,D\n":             "line 3: a quote is opened and never closed; nothing from there on was read",
		"b@x.org,\"B\nc@x.org,C":                          "line 3: a quote is opened and never closed; nothing from there on was read",
		"\n\nb@x.org,\"B\nc@x.org,C\n":                    "line 5: a quote is opened and never closed; nothing from there on was read",
		"b@x.org,\"B\nc@x.org,\"C\"\nd@x.org,D\n":         "line 3: a quote is opened, and one on line 4 stands where none can; nothing from there on was read",
		"b@x.org,\"B\nc@x.org\",C\"\nd@x.org,D\n":         "line 3: a quote is opened, and one on line 4 stands where none can; nothing from there on was read",
		"b@x.org,B,\"\n" + many.String() + "d,D,\"\"\"\n": "line 3: the row goes on for more than 10 lines, as behind a quote that is not closed; nothing from there on was read",
	} {
		got, err := read(t, Read(strings.NewReader(begin+in)))
		if err == nil || err.Error() != want || len(got) != 1 {
			t.Errorf("%q: rows %v, error %v; want one row and %q", in, got, err, want)
		}
	}
}

func TestReadSaysWhatIsWrongWithTheHeader(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "the input is empty",
		"mail,name\na,b\n":  `must name the columns email and name; it is "mail,name"`,
		"a@x.org,Ada\n":     `it is "a@x.org,Ada"`,
		"\"email,name\na,b": "the first line can't be read",
	} {
		_, err := read(t, Read(strings.NewReader(in)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", in, err, want)
		}
	}
}

func TestReadEndsWithTheErrorOfTheInput(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, start := range []string{
		"email,name\na@x.org,Ada\n", "email,name\na@x.org,Ada\nb@x.org,Bo",
		"{\"email\":\"a@x.org\"}\n", "{\"email\":\"a@x.org\"}\n{\"email\":\"b@x.org\"}",
	} {
		in := io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken))
		lines, err := read(t, Read(in))
		if !errors.Is(err, broken) || len(lines) != 1 {
			t.Errorf("%q: rows %v, error %v; want one row, then %v", start, lines, err, broken)
		}
	}
}

func TestReadEndsAtALineThatIsTooLong(t *testing.T) {
	_, err := read(t, Read(strings.NewReader(`{"name":"`+strings.Repeat("x", maxLine)+`"}`)))
	if err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("error %v, want one that names line 1", err)
	}
}

func TestSampleGivesTheSamePeopleForTheSameSeed(t *testing.T) {
	one, _ := read(t, Sample(500, 7))
	again, _ := read(t, Sample(500, 7))
	other, _ := read(t, Sample(500, 8))
	if diff := cmp.Diff(one, again); diff != "" {
		t.Errorf("seed 7 differs from itself: %s", diff)
	}
	seen := map[string]bool{}
	for _, row := range append(one, other...) {
		email, _, _ := strings.Cut(row, "|")
		if seen[email] {
			t.Fatalf("address %s stands there twice", email)
		}
		seen[email] = true
	}
}
