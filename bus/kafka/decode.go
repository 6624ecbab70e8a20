package kafka

import (
	"errors"
	"fmt"
	"mime"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

var errNoContentType = errors.New("the record has no " + headerContentType + " header, so it is not a CloudEvent")

// decode reads an event from a record, whoever published it, into e. Where it can't, the event's Err says why, and
// the event holds the record as it came. At is the caller's to fill in.
//
// Binary mode, with the attributes in ce_ headers, belongs here too: it is told by a ce_specversion header.
func decode(m *ck.Message, e *bus.Event) {
	kind := contentType(m.Headers)
	if kind != bus.TypeEnvelope { // parameters are rare, and parsing them is slow
		if err := checkContentType(kind); err != nil {
			*e = undecoded(m, err)
			return
		}
	}
	var err error
	if *e, err = bus.ParseEnvelope(m.Value); err != nil {
		*e = undecoded(m, err)
	}
}

// undecoded is the event for a record that is none.
func undecoded(m *ck.Message, err error) bus.Event {
	return bus.Event{Key: string(m.Key), Data: m.Value, Err: err}
}

// contentType returns the header's value, "" when there is none.
func contentType(headers []ck.Header) string {
	for i := range headers {
		if headers[i].Key == headerContentType {
			if string(headers[i].Value) == bus.TypeEnvelope {
				return bus.TypeEnvelope // no allocation
			}
			return string(headers[i].Value)
		}
	}
	return ""
}

// checkContentType takes the media type with parameters, too.
func checkContentType(kind string) error {
	if kind == "" {
		return errNoContentType
	}
	media, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return fmt.Errorf("%s %.64q can't be read: %w", headerContentType, kind, err)
	}
	if media != bus.TypeEnvelope {
		return fmt.Errorf("%s is %.64q; this program reads %s", headerContentType, media, bus.TypeEnvelope)
	}
	return nil
}
