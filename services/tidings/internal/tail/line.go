package tail

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// line is an event for people, without its end.
func line(e *bus.Event) []byte {
	if e.Err != nil {
		return fmt.Appendf(nil, "- - %s - - no event (%s): %s", word(e.Key), printable(e.Err.Error()), begin(e.Data))
	}
	at, version := "-", "-"
	if !e.Time.IsZero() {
		at = e.Time.UTC().Format(time.RFC3339Nano)
	}
	if e.Version > 0 {
		version = strconv.FormatUint(e.Version, 10)
	}
	return fmt.Appendf(nil, "%s %s %s %s %s %s", at, word(e.Type), word(e.Key), version, word(e.Source), payloadText(e))
}

// payloadText is what is in an event.
func payloadText(e *bus.Event) string {
	p := payloadOf(e)
	switch {
	case p.err != nil:
		return fmt.Sprintf("no %s (%s): %s", word(e.Type), printable(p.err.Error()), begin(e.Data))
	case p.json == nil && len(e.Data) == 0:
		return "no data"
	case p.json == nil && isProto(e):
		return "a type that this program does not know: " + begin(e.Data)
	case p.json == nil:
		return word(e.DataType) + ": " + begin(e.Data)
	case p.unknown > 0:
		return fmt.Sprintf("%s and %s of fields that this program does not know", p.json, bytesText(p.unknown))
	}
	return string(p.json)
}

// hint is how many bytes of what can't be read are shown.
const hint = 32

// begin says how long data is, and how it begins.
func begin(data []byte) string {
	switch {
	case len(data) == 0:
		return "no bytes"
	case len(data) > hint:
		return bytesText(len(data)) + ", " + hex.EncodeToString(data[:hint]) + "…"
	}
	return bytesText(len(data)) + ", " + hex.EncodeToString(data)
}

func bytesText(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return strconv.Itoa(n) + " bytes"
}
