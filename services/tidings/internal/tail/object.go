package tail

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tidings-dev/tidings/bus"
)

// object is an event as a JSON object, without the end of its line. See the package's documentation.
func object(e *bus.Event) []byte {
	if e.Err != nil {
		return foreignObject(e)
	}
	p := payloadOf(e)
	var o writer
	o.text("specversion", "1.0")
	o.text("id", e.ID)
	o.text("source", e.Source)
	o.text("type", e.Type)
	o.textIf("subject", e.Key)
	if !e.Time.IsZero() {
		o.text("time", e.Time.UTC().Format(time.RFC3339Nano))
	}
	o.text("datacontenttype", p.mediaType(e))
	o.numberIf("version", e.Version)
	o.numberIf("sequence", e.Seq)
	o.textIf("sequencelog", e.SeqLog)
	for _, name := range slices.Sorted(maps.Keys(e.Ext)) {
		if !ours(name) {
			o.text(name, e.Ext[name])
		}
	}
	o.place(e.At)
	o.payload(e, p)
	return o.end()
}

// ours reports whether a name is one of those that stand for something else here. No event of Tidings has such an
// attribute; another's would say of itself what only the reader can say.
func ours(name string) bool {
	switch name {
	case "logtopic", "logpartition", "logoffset", "unknownbytes", "dataerror", "data_base64", "specversion":
		return true
	}
	return false
}

// foreignObject is what came as it came.
func foreignObject(e *bus.Event) []byte {
	var o writer
	o.text("error", e.Err.Error())
	if utf8.ValidString(e.Key) {
		o.text("key", e.Key)
	} else {
		o.text("key_base64", base64.StdEncoding.EncodeToString([]byte(e.Key)))
	}
	o.place(e.At)
	o.text("data_base64", base64.StdEncoding.EncodeToString(e.Data))
	return o.end()
}

// mediaType is that of what stands in the object. A message that is shown as JSON is JSON there, and readers of
// CloudEvents take an object for data of no other media type.
func (p payload) mediaType(e *bus.Event) string {
	switch {
	case !isProto(e):
		return e.DataType
	case p.json != nil:
		return "application/json"
	}
	return bus.TypeProtobuf
}

// writer makes an object whose members keep their order.
type writer struct{ b []byte }

func (w *writer) raw(name string, value []byte) {
	sep := byte(',')
	if len(w.b) == 0 {
		sep = '{'
	}
	w.b = append(w.b, sep)
	w.b = append(w.b, escaped(quoted(name))...)
	w.b = append(append(w.b, ':'), value...)
}

func (w *writer) end() []byte { return append(w.b, '}') }

func (w *writer) text(name, value string) { w.raw(name, escaped(quoted(value))) }

func (w *writer) textIf(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

// numberIf writes a decimal string, as the attribute is one: it may have more digits than JSON's readers keep.
func (w *writer) numberIf(name string, value uint64) {
	if value > 0 {
		w.text(name, strconv.FormatUint(value, 10))
	}
}

func (w *writer) place(at bus.Position) {
	w.text("logtopic", at.Topic)
	if at.Offset >= 0 {
		w.raw("logpartition", strconv.AppendInt(nil, int64(at.Partition), 10))
		w.text("logoffset", strconv.FormatInt(at.Offset, 10))
	}
}

func (w *writer) payload(e *bus.Event, p payload) {
	if p.unknown > 0 {
		w.raw("unknownbytes", strconv.AppendInt(nil, int64(p.unknown), 10))
	}
	switch {
	case p.err != nil:
		w.text("dataerror", p.err.Error())
		fallthrough
	case p.json == nil:
		if len(e.Data) > 0 {
			w.text("data_base64", base64.StdEncoding.EncodeToString(e.Data))
		}
	default:
		w.raw("data", p.json)
	}
}

// quoted is s as a JSON string, with < and > as they are: these lines are read by people, too.
func quoted(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can be encoded, and a buffer written
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
