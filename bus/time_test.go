package bus_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tidings-dev/tidings/bus"
)

// What is parsed is written again by whoever stores it, and must be read again then: a time that a Timestamp can't hold
// is no event's, in whatever form it came.
func TestATimeAsTextOutsideTheYearsIsRefused(t *testing.T) {
	for text, ok := range map[string]bool{
		"0000-01-01T00:00:00Z":      false,
		"0001-01-01T00:00:00+23:00": false,
		"9999-12-31T23:59:59-23:00": false,
		"0001-01-01T00:00:01Z":      true,
		"9999-12-31T23:59:59Z":      true,
		"2026-11-22T10:00:00+01:00": true,
	} {
		plain := bus.Event{ID: "i", Source: "/s", Type: "t.T", Key: "k"}
		b := plain.AppendEnvelope(nil)
		value := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), text)
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "time")
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), value)
		b = protowire.AppendBytes(protowire.AppendTag(b, 5, protowire.BytesType), entry)
		e, err := bus.ParseEnvelope(b)
		if ok != (err == nil) || err != nil && !errors.Is(err, bus.ErrNotEvent) {
			t.Errorf("%s: %v, want it to be read: %v", text, err, ok)
		}
		if err == nil {
			if _, err := bus.ParseEnvelope(e.AppendEnvelope(nil)); err != nil {
				t.Errorf("%s is read, and can't be read again: %v", text, err)
			}
		}
	}
}
