package bus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// CloudEvents' binary mode: the attributes travel as metadata of a record, each by itself, and the data is the
// record's value. What stands here is the same for every protocol; how metadata is named is the protocol's business.

// Attribute is one CloudEvents attribute: its name, as "id" or "traceparent", and its value in CloudEvents' canonical
// string form, which is UTF-8 without any escaping.
type Attribute struct {
	Name  string
	Value []byte
}

// Attributes that travel beside the map of the envelope.
const (
	attrID          = "id"
	attrSource      = "source"
	attrSpecVersion = "specversion"
	attrType        = "type"
)

// AppendAttributes appends the attributes of e to attrs, and their values to mem, and returns both. Each name comes
// once: those that CloudEvents requires and datacontenttype always, others where they are set, Ext in order of its
// names. The values share the memory that is returned; with room in both, nothing is allocated. It doesn't check e:
// see [Event.Validate].
//
// Attributes, key and data take no more than [Event.Size] says where an attribute costs its protocol at most 16 bytes
// of framing and prefix.
func (e *Event) AppendAttributes(attrs []Attribute, mem []byte) ([]Attribute, []byte) {
	w := attributeWriter{attrs, mem}
	w.text(attrSpecVersion, specVersion)
	w.text(attrID, e.ID)
	w.text(attrSource, e.Source)
	w.text(attrType, e.Type)
	if e.Key != "" {
		w.text(attrSubject, e.Key)
	}
	if !e.Time.IsZero() {
		from := len(w.mem)
		w.mem = e.Time.UTC().AppendFormat(w.mem, time.RFC3339Nano)
		w.done(attrTime, from)
	}
	w.text(attrContentType, e.dataType())
	w.number(attrVersion, e.Version)
	w.number(attrSequence, e.Seq)
	if e.SeqLog != "" {
		w.text(attrSequenceLog, e.SeqLog)
	}
	if len(e.Ext) > 0 {
		w.ext(e.Ext)
	}
	return w.attrs, w.mem
}

type attributeWriter struct {
	attrs []Attribute
	mem   []byte
}

// done adds the attribute whose value was appended to mem.
func (w *attributeWriter) done(name string, from int) {
	w.attrs = append(w.attrs, Attribute{name, w.mem[from:len(w.mem):len(w.mem)]})
}

func (w *attributeWriter) text(name, value string) {
	from := len(w.mem)
	w.mem = append(w.mem, value...)
	w.done(name, from)
}

func (w *attributeWriter) number(name string, v uint64) {
	if v == 0 {
		return
	}
	from := len(w.mem)
	w.mem = strconv.AppendUint(w.mem, v, 10)
	w.done(name, from)
}

func (w *attributeWriter) ext(ext map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(ext)) {
		if name != attrSchema || ext[name] != "" {
			w.text(name, ext[name])
		}
	}
}

// ParseAttributes reads an event from its attributes and its data, whoever wrote them. Data is kept as it is; nil
// means that there is none. Attributes that Event has no field for go to Ext. It is the counterpart of
// [Event.AppendAttributes], and an event that both modes carry is read as the same one from either.
//
// It returns an error that wraps [ErrNotEvent] where an attribute that CloudEvents requires is missing, a name or a
// value is none that CloudEvents allows, or an attribute stands there twice with different values.
func ParseAttributes(attrs []Attribute, data []byte) (Event, error) {
	p := parser{hasData: data != nil}
	p.e.Data = data
	var f attributeFields
	for _, a := range attrs {
		if err := p.collect(&f, a); err != nil {
			return Event{}, notEvent(err)
		}
	}
	if err := p.take(&f); err != nil {
		return Event{}, notEvent(err)
	}
	if err := p.finish(); err != nil {
		return Event{}, notEvent(err)
	}
	return p.e, nil
}

// attributeFields are the values of the attributes that Event has a field for, as they came; nil where there is none.
// They are read once all are there, for a schema is compared with the type.
type attributeFields struct {
	spec, id, source, typ, subject, time, contentType, schema, version, sequence, sequenceLog []byte
}

func (f *attributeFields) of(name string) *[]byte {
	switch name {
	case attrSpecVersion:
		return &f.spec
	case attrID:
		return &f.id
	case attrSource:
		return &f.source
	case attrType:
		return &f.typ
	case attrSubject:
		return &f.subject
	case attrTime:
		return &f.time
	case attrContentType:
		return &f.contentType
	case attrSchema:
		return &f.schema
	case attrVersion:
		return &f.version
	case attrSequence:
		return &f.sequence
	case attrSequenceLog:
		return &f.sequenceLog
	}
	return nil
}

// collect refuses what no writer may send. The same attribute twice with one value does no harm; with two, nobody
// knows which is meant, and readers that guess differently would see two events.
func (p *parser) collect(f *attributeFields, a Attribute) error {
	if !validBytes(a.Value) {
		return fmt.Errorf("attribute %.64q has bytes that are not UTF-8, or control characters: %.64q", a.Name, a.Value)
	}
	to := f.of(a.Name)
	if to == nil {
		return p.collectExt(a)
	}
	if *to != nil && !bytes.Equal(*to, a.Value) {
		return twice(a, string(*to))
	}
	if *to = a.Value; a.Value == nil {
		*to = []byte{}
	}
	return nil
}

func (p *parser) collectExt(a Attribute) error {
	if !validName(a.Name) {
		return fmt.Errorf("attribute %.64q: a name is 1 to 64 lower-case letters and digits, and not data", a.Name)
	}
	if before, ok := p.e.Ext[a.Name]; ok {
		if before != string(a.Value) {
			return twice(a, before)
		}
		return nil
	}
	p.ext(a.Name, string(a.Value))
	return nil
}

func twice(a Attribute, before string) error {
	return fmt.Errorf("attribute %s stands there twice, as %.64q and as %.64q", a.Name, before, a.Value)
}

// take reads what was collected.
func (p *parser) take(f *attributeFields) (err error) {
	p.spec, p.id, p.source, p.typ, p.key = f.spec, f.id, f.source, f.typ, f.subject
	if f.time != nil {
		if p.e.Time, err = parseTimeText(f.time); err != nil {
			return err
		}
	}
	for _, o := range [...]struct {
		name  string
		value []byte
	}{
		{attrContentType, f.contentType}, {attrSchema, f.schema},
		{attrVersion, f.version}, {attrSequence, f.sequence}, {attrSequenceLog, f.sequenceLog},
	} {
		if o.value == nil {
			continue
		}
		if err = p.setAttribute([]byte(o.name), valueString, o.value, 0); err != nil {
			return err
		}
	}
	return nil
}

// parseTimeText takes RFC 3339, which allows "t" and "z" as well. Unlike parseTime it costs no memory.
func parseTimeText(b []byte) (time.Time, error) {
	var t time.Time
	if t.UnmarshalText(b) != nil {
		if err := t.UnmarshalText(bytes.ToUpper(b)); err != nil {
			return time.Time{}, fmt.Errorf("time %.64q is not in RFC 3339", b)
		}
	}
	if sec := t.Unix(); sec < minSeconds || sec > maxSeconds {
		return time.Time{}, errTime
	}
	return t.UTC(), nil
}

// validBytes is validString for bytes, without a string of them where they are ASCII. Every event passes here several
// times, so eight bytes are looked at together as long as all of them are plain.
func validBytes(b []byte) bool {
	for len(b) >= 8 && plain(binary.LittleEndian.Uint64(b)) {
		b = b[8:]
	}
	for _, c := range b {
		if c < 0x20 || c >= 0x7f {
			return c >= 0x80 && validString(string(b))
		}
	}
	return true
}

// plain reports whether none of eight bytes is below 0x20, or 0x7f and above. Each term has the high bit of a byte set
// where that byte, or one below it, is: adding needs no carry into a byte whose high bit is clear, and borrowing
// is only ever wrong above a byte that is one already ("Determine if a word has a byte less than n", Bit Twiddling Hacks).
func plain(w uint64) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	below, above := (w-ones*0x20)&^w, (w+ones)|w
	return (below|above)&high == 0
}
