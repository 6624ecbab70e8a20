package schemadoc

import "testing"

// What stands here was read by another program's YAML as what it was made of.
func TestYAML(t *testing.T) {
	got := yamlOf(object{
		{"word", "three plain words"},
		{"yes", "no"},
		{"number", "3.0"}, {"sign", "-x"}, {"colon", "a: b"}, {"hash", "a #b"}, {"quote", `say "so"`}, {"space", " x"}, {"empty", ""},
		{"$ref", "#/a/b"}, {"unicode", "1 … 2"}, {"tilde", "~"},
		{"true", true}, {"minus", -1},
		{"block", "one\n  two\n\nthree: #4"},
		{"tab", "one\n\ttwo"}, {"end", "one \ntwo"}, {"last", "one\n"},
		{"none", object{}}, {"nothing", list{}},
		{"deep", object{{"list", list{"a", object{{"b", "c"}, {"d", list{"e"}}}, object{}, "on"}}}},
	})
	want := `word: three plain words
"yes": "no"
number: "3.0"
sign: "-x"
colon: "a: b"
hash: "a #b"
quote: "say \"so\""
space: " x"
empty: ""
"$ref": "#/a/b"
unicode: "1 … 2"
tilde: "~"
"true": true
minus: -1
block: |-
  one
    two

  three: #4
tab: "one\n\ttwo"
end: "one \ntwo"
last: "one\n"
none: {}
nothing: []
deep:
  list:
    - a
    - b: c
      d:
        - e
    - {}
    - "on"
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestJSONKeepsTheOrder(t *testing.T) {
	got, err := object{{"b", 1}, {"a", object{}}, {"c", list{object{{"z", "y"}}}}}.MarshalJSON()
	if want := `{"b":1,"a":{},"c":[{"z":"y"}]}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}
