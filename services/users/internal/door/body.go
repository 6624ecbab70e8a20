package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxBody bounds a body in bytes. The largest one that can be taken has about 7 KiB, with every character
	// escaped and nothing but digits in the number.
	maxBody = 64 << 10
	// maxFaults bounds the list of faults in an answer, and maxQuoted what it repeats of the request, in characters.
	maxFaults = 100
	maxQuoted = 64
)

// mediaType is what bodies are. A browser asks before it sends this type to another origin than the page's, and is
// refused (405 to OPTIONS), so no page of the web can write through a person's browser. A missing Content-Type is
// refused for the same reason: a page can leave it out without asking.
const mediaType = "application/json"

// readBody returns the whole body of r, or the *problem with it. Its type is looked at first, so that what would be
// refused anyway is not waited for.
func (d *Door) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkType(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > maxBody { // a client that asks before it sends (Expect: 100-continue) need not send
		return nil, tooLarge()
	}
	// One more byte than is expected: the end of the body is found without growing.
	b := bytes.NewBuffer(make([]byte, 0, max(r.ContentLength, 511)+bytes.MinRead))
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return b.Bytes(), nil
	case errors.As(err, &large):
		return nil, tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, newProblem(http.StatusRequestTimeout, "the request did not arrive within %v", d.timeouts.read).with("Connection", "close")
	default:
		return nil, newProblem(http.StatusBadRequest, "the body broke off").with("Connection", "close")
	}
}

// tooLarge also ends the connection: reading on to its next request could take for ever.
func tooLarge() *problem {
	return newProblem(http.StatusRequestEntityTooLarge, "the body is over %d bytes", maxBody).with("Connection", "close")
}

// checkType returns a *problem unless the body is said to be JSON in UTF-8, as it is.
func checkType(h http.Header) error {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return newProblem(http.StatusUnsupportedMediaType, "Content-Encoding %s is not taken: send the body as it is", quote(coding)).
			with("Accept-Encoding", "identity")
	}
	given := h.Get("Content-Type")
	if given == mediaType {
		return nil
	}
	t, params, err := mime.ParseMediaType(given)
	if charset := params["charset"]; err == nil && t == mediaType && (charset == "" || strings.EqualFold(charset, "utf-8")) {
		return nil
	}
	return newProblem(http.StatusUnsupportedMediaType, "Content-Type is %s; send JSON in UTF-8, with Content-Type: %s", quote(given), mediaType).
		with("Accept", mediaType)
}

// parse reads the JSON object in b into m, as protobuf's JSON maps it. What is no JSON object at all is a *problem.
// Else it returns a fault for every field that is unknown, repeated or of another type; m has the others, so that
// their values can be checked too, and the client hears of everything in one answer.
func parse(b []byte, m proto.Message) ([]fault, error) {
	if protojson.Unmarshal(b, m) == nil {
		return nil, nil
	}
	// protojson stops at the first fault, and its words are for programmers. Look for all of them.
	if err := checkObject(b); err != nil {
		return nil, err
	}
	proto.Reset(m)
	return walk(b, m)
}

// checkObject returns a *problem where b is not one JSON object in UTF-8, with nothing behind it. UTF-8 comes first,
// for encoding/json would put U+FFFD in the place of what is not; how deep objects nest, it bounds itself.
func checkObject(b []byte) error {
	if !utf8.Valid(b) {
		return newProblem(http.StatusBadRequest, "the body is not UTF-8")
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return newProblem(http.StatusBadRequest, "the body is empty; send a JSON object")
	}
	var value json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(b, &value); errors.As(err, &syntax) {
		return newProblem(http.StatusBadRequest, "the body is not JSON: byte %d: %v", syntax.Offset, err)
	} else if err != nil {
		return newProblem(http.StatusBadRequest, "the body is not JSON: %v", err)
	}
	if kind := kindOf(value); kind != "an object" {
		return newProblem(http.StatusBadRequest, "the body is %s; send a JSON object", kind)
	}
	return nil
}

// walk sets the fields of m that stand in the JSON object b, one by one, and returns a fault for each that can't be.
func walk(b []byte, m proto.Message) ([]fault, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil { // the opening brace
		return nil, unreadable(err)
	}
	fields := m.ProtoReflect().Descriptor().Fields()
	var faults []fault
	seen := make(map[protoreflect.Name]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, unreadable(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, unreadable(err)
		}
		if f := setField(m, fields, name.(string), value, seen); f != nil {
			faults = append(faults, *f)
		}
	}
	if len(faults) == 0 {
		return nil, unreadable(errors.New("protobuf can't read it"))
	}
	return faults, nil
}

// unreadable answers a body in which protojson finds a fault and walk none. No such body is known; if there is one,
// it is refused all the same, for protojson is who decides.
func unreadable(err error) *problem {
	return newProblem(http.StatusBadRequest, "the body can't be read: %v", err).because(err)
}

// setField sets the field that name stands for, in either of the spellings that protobuf's JSON takes, and notes in
// seen that it was there. A field that stands there twice is nobody's guess: it is at fault, whatever its values.
func setField(m proto.Message, fields protoreflect.FieldDescriptors, name string, value json.RawMessage, seen map[protoreflect.Name]bool) *fault {
	field := fields.ByJSONName(name)
	if field == nil {
		field = fields.ByTextName(name)
	}
	if field == nil {
		return &fault{shorten(name), "is not a field here; there is " + names(fields)}
	}
	if seen[field.Name()] {
		return &fault{field.JSONName(), "stands there more than once"}
	}
	seen[field.Name()] = true
	return setValue(m, field, value)
}

// setValue lets protojson decide what a value of field may be: it merges an object with this one field.
func setValue(m proto.Message, field protoreflect.FieldDescriptor, value json.RawMessage) *fault {
	object := fmt.Appendf(nil, "{%q:%s}", field.JSONName(), value)
	one := m.ProtoReflect().Type().New().Interface()
	if protojson.Unmarshal(object, one) == nil {
		proto.Merge(m, one)
		return nil
	}
	kind := kindOf(value)
	if field.Kind() == protoreflect.StringKind && !field.IsList() && kind == "a string" {
		return &fault{field.JSONName(), "has an escape that is no Unicode character"}
	}
	if e := field.Enum(); e != nil {
		return &fault{field.JSONName(), noneOf(e)}
	}
	return &fault{field.JSONName(), fmt.Sprintf("is %s, and must be a %v", kind, field.Kind())}
}

// noneOf says that a value is none of an enum's, and lists these.
func noneOf(e protoreflect.EnumDescriptor) string {
	values := make([]string, e.Values().Len())
	for i := range values {
		values[i] = string(e.Values().Get(i).Name())
	}
	return "is none of " + strings.Join(values, ", ")
}

// kindOf says what a JSON value is.
func kindOf(value json.RawMessage) string {
	switch bytes.TrimSpace(value)[0] {
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
	default:
		return "a number"
	}
}

// names lists the fields that there are, for who has misspelt one.
func names(fields protoreflect.FieldDescriptors) string {
	all := make([]string, fields.Len())
	for i := range all {
		all[i] = fields.Get(i).JSONName()
	}
	return strings.Join(all, ", ")
}

// quote puts s in quotes, escapes what can't be shown, and cuts what is long: a client is to see what is meant, and no
// more of its request comes back.
func quote(s string) string { return fmt.Sprintf("%q", shorten(s)) }

// shorten cuts what is longer than maxQuoted characters.
func shorten(s string) string {
	if utf8.RuneCountInString(s) <= maxQuoted {
		return s
	}
	return string([]rune(s)[:maxQuoted]) + "…"
}
