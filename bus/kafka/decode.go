package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// decode reads an event from a record, whoever published it and in whichever mode, into e. Where it can't, the
// event's Err says why, and the event holds the record as it came. At is the caller's to fill in.
func decode(m *ck.Message, e *bus.Event) {
	var err error
	if kind := contentType(m.Headers); string(kind) == bus.TypeEnvelope { // without the parsing, which is slow
		*e, err = bus.ParseEnvelope(m.Value)
	} else {
		*e, err = decodeOther(m, kind)
	}
	if err != nil {
		*e = undecoded(m, err)
	} else if e.Key == "" && isText(m.Key) {
		// Others need no subject. What the record is about is then what its partition was chosen by.
		e.Key = string(m.Key)
	}
}

// isText reports whether a record's key can be a subject, which is UTF-8 without control characters.
func isText(key []byte) bool {
	return utf8.Valid(key) && !bytes.ContainsFunc(key, unicode.IsControl)
}

// decodeOther reads what Tidings doesn't write by default.
func decodeOther(m *ck.Message, kind []byte) (bus.Event, error) {
	if isFormat(kind) {
		return structured(m.Value, string(kind))
	}
	return binary(m)
}

// undecoded is the event for a record that is none.
func undecoded(m *ck.Message, err error) bus.Event {
	return bus.Event{Key: string(m.Key), Data: m.Value, Err: err}
}

// formats is what the media types of all event formats begin with, those for batches too. A record of one is in
// structured mode, whatever other headers it has.
const formats = "application/cloudevents"

// isFormat reports whether a content-type names an event format.
func isFormat(kind []byte) bool {
	return len(kind) >= len(formats) && strings.EqualFold(string(kind[:len(formats)]), formats)
}

// structured reads a record whose media type has parameters, or is that of a format which we don't know.
func structured(value []byte, kind string) (bus.Event, error) {
	media, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return bus.Event{}, fmt.Errorf("%s %.64q can't be read: %w", headerContentType, kind, err)
	}
	if media != bus.TypeEnvelope {
		return bus.Event{}, fmt.Errorf("%s is %.64q; of CloudEvents' formats this program reads %s only",
			headerContentType, media, bus.TypeEnvelope)
	}
	return bus.ParseEnvelope(value)
}

var errNoEvent = errors.New("the record has neither a " + headerContentType + " of CloudEvents nor a " +
	headerSpecVersion + " header, so it is not a CloudEvent")

// binary reads a record in binary mode. What is in front of a payload when its publisher has a schema registry goes.
func binary(m *ck.Message) (bus.Event, error) {
	if !hasSpecVersion(m.Headers) {
		return bus.Event{}, errNoEvent
	}
	var scratch [16]bus.Attribute
	e, err := bus.ParseAttributes(appendAttributes(scratch[:0], m.Headers), m.Value)
	if e.DataType == "" {
		e.Data = unframe(e.Data)
	}
	return e, err
}
