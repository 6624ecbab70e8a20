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
			[]string{`bad: bare " in non-quoted-field`, "b@x.org|Bob"},
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
	for _, start := range []string{"email,name\na@x.org,Ada\n", `{"email":"a@x.org"}` + "\n"} {
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
