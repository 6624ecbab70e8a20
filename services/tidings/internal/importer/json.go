package importer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

func readJSON(text *lines, yield func(Row, error) bool) {
	for {
		line, err := text.next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			yield(Row{}, endedAt(text.number+1, err))
			return
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && !yield(jsonRow(text.number, line), nil) {
			return
		}
	}
}

func jsonRow(line int, text []byte) Row {
	row := Row{Line: line}
	var user map[string]json.RawMessage
	if row.Err = jsonObject(text, &user); row.Err == nil {
		for _, f := range fields() {
			text, fault := jsonText(f.name, member(user, f))
			*f.of(&row), row.Err = text, cmp.Or(row.Err, fault)
		}
	}
	if row.Err != nil {
		row.Raw = string(text)
	}
	return row
}

// member returns the member that is the field, nil where there is none. Of several that differ in their spelling it is
// the one that is spelt as the door does, and else the first by the alphabet: the same at every run.
func member(of map[string]json.RawMessage, f field) json.RawMessage {
	if raw, ok := of[f.name]; ok {
		return raw
	}
	var found string
	var value json.RawMessage
	for name, raw := range of {
		if f.is(name) && (value == nil || name < found) {
			found, value = name, raw
		}
	}
	return value
}

func jsonObject(text []byte, into any) error {
	err := json.Unmarshal(text, into)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON: %w", syntax)
	case err != nil, text[0] != '{':
		return fmt.Errorf("is %s, and must be an object with email and name", kind(text))
	}
	return nil
}

// jsonText returns a member's text; that of one which is missing, or null, is empty, for the door to refuse. The
// decoder would put a mark in the place of what is no text, and so change a name without a word.
func jsonText(field string, raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", nil
	}
	if !utf8.Valid(raw) {
		return "", fmt.Errorf("%s: is not UTF-8", field)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("%s: is %s, and must be a string", field, kind(raw))
	}
	if marks([]byte(text)) > marks(raw)+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return "", fmt.Errorf(`%s: is not UTF-8: a \u escape is half of a character`, field)
	}
	return text, nil
}

// marks counts the characters that stand for what could not be decoded.
func marks(text []byte) int { return bytes.Count(text, []byte(string(utf8.RuneError))) }

// kind says what a JSON value is, which begins without white space.
func kind(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
