package bus

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// ParseEnvelope reads an event from the bytes of a CloudEvent in protobuf format, whoever wrote it. Data shares
// b's memory. Attributes that Event has no field for go to Ext as strings, in CloudEvents' canonical form; fields
// that the format does not define are passed over. It returns an error that wraps [ErrNotEvent] where b is
// something else, or lacks an attribute that CloudEvents requires. It never panics, whatever b is.
func ParseEnvelope(b []byte) (Event, error) {
	var p parser
	if err := p.event(b); err != nil {
		return Event{}, notEvent(err)
	}
	if err := p.finish(); err != nil {
		return Event{}, notEvent(err)
	}
	return p.e, nil
}

// ErrNotEvent is wrapped by every error of [ParseEnvelope] and [ParseAttributes].
var ErrNotEvent = errors.New("not a CloudEvent")

func notEvent(why error) error { return fmt.Errorf("bus: %w: %w", ErrNotEvent, why) }

var (
	errTruncated = errors.New("it is cut short or broken")
	errNotText   = errors.New("an attribute is not UTF-8, or has control characters, which CloudEvents forbids")
)

// parser is what is known of an event while it is read. Nothing in it escapes: an event costs one piece of memory
// for its strings, and more only for what most events don't have.
type parser struct {
	e    Event
	spec []byte

	id, source, typ, key []byte // become strings in the end

	typeURL  []byte
	hasData  bool
	hasProto bool // Data came in an Any
	schema   bool // dataschema stands there, and is what Type says already
}

func (p *parser) event(b []byte) (err error) {
	for len(b) > 0 && err == nil {
		num, v, n := consumeField(b)
		if n < 0 {
			return errTruncated
		}
		b = b[n:]
		switch num {
		case fieldID:
			p.id = v
		case fieldSource:
			p.source = v
		case fieldSpecVersion:
			p.spec = v
		case fieldType:
			p.typ = v
		case fieldAttributes:
			err = p.attribute(v)
		case fieldBinaryData, fieldTextData:
			p.e.Data, p.hasData, p.hasProto = v, true, false
			p.typeURL = nil
		case fieldProtoData:
			err = p.protoData(v)
		}
	}
	return err
}

// finish checks what must be there, and drops from Ext what the other fields say already.
func (p *parser) finish() error {
	switch {
	case len(p.spec) == 0:
		return errors.New("no specversion")
	case p.spec[0] != '1':
		return fmt.Errorf("specversion %.16q; this program reads 1.0", p.spec)
	case len(p.id) == 0 || len(p.source) == 0 || len(p.typ) == 0:
		return fmt.Errorf("id, source and type must be set; they are %.64q, %.64q, %.64q", p.id, p.source, p.typ)
	case !validBytes(p.id) || !validBytes(p.source) || !validBytes(p.typ) || !validBytes(p.key) || !validBytes(p.typeURL):
		return errNotText
	}
	p.finishStrings()
	p.finishType()
	return nil
}

// finishStrings makes the strings that every event has, all in one piece of memory.
func (p *parser) finishStrings() {
	var scratch [256]byte
	all := append(scratch[:0], p.id...)
	all = append(all, p.source...)
	all = append(all, p.typ...)
	all = append(all, p.key...)
	s := string(all)
	p.e.ID, s = s[:len(p.id)], s[len(p.id):]
	p.e.Source, s = s[:len(p.source)], s[len(p.source):]
	p.e.Type, p.e.Key = s[:len(p.typ)], s[len(p.typ):]
}

// finishType settles what Data is, and keeps dataschema only where it says more than Type.
func (p *parser) finishType() {
	e := &p.e
	switch {
	case e.DataType == TypeProtobuf:
		e.DataType = ""
	case len(p.typeURL) == 0 && e.DataType == "" && p.hasData:
		e.DataType = "application/octet-stream"
	}
	if len(p.typeURL) > 0 && !isDefaultURL(p.typeURL, p.typ) {
		p.ext(attrSchema, string(p.typeURL))
	}
	switch {
	case p.schema && !e.isProto() && e.Ext[attrSchema] == "":
		p.ext(attrSchema, schemaPrefix+e.Type)
	case e.isProto() && isDefaultURL([]byte(e.Ext[attrSchema]), p.typ):
		delete(e.Ext, attrSchema)
	}
	if len(e.Ext) == 0 {
		e.Ext = nil
	}
}

// isDefaultURL reports whether url says no more than typ does.
func isDefaultURL(url, typ []byte) bool {
	n := len(url) - len(typ) // of the prefix; a string made of bytes to compare costs no memory
	return n >= len(typeURLPrefix) && bytes.Equal(url[n:], typ) &&
		(string(url[:n]) == schemaPrefix || string(url[:n]) == typeURLPrefix)
}

func (p *parser) protoData(b []byte) error {
	if !p.hasProto { // of two that follow each other, protobuf makes one
		p.e.Data = nil
	}
	p.hasData, p.hasProto = true, true
	for len(b) > 0 {
		num, v, n := consumeField(b)
		if n < 0 {
			return errTruncated
		}
		b = b[n:]
		switch num {
		case 1:
			p.typeURL = v
		case 2:
			p.e.Data = v
		}
	}
	return nil
}

// consumeField reads the field that b begins with: its number and its bytes, or the number 0 where it is not
// length-delimited and so none that we know. n is its size, negative where b is broken.
func consumeField(b []byte) (num protowire.Number, v []byte, n int) {
	if len(b) >= 2 && b[0]&0x87 == byte(protowire.BytesType) && b[0] > 7 && b[1] < 0x80 && len(b)-2 >= int(b[1]) {
		// A number below 16 and a size below 128, as most are.
		n = 2 + int(b[1])
		return protowire.Number(b[0] >> 3), b[2:n:n], n
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, nil, n
	}
	if typ != protowire.BytesType {
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		return 0, nil, sum(n, size)
	}
	v, size := protowire.ConsumeBytes(b[n:])
	return num, v[:len(v):len(v)], sum(n, size)
}

// sum is a + b, or b where that is an error of protowire.
func sum(a, b int) int {
	if b < 0 {
		return b
	}
	return a + b
}

func text(v []byte) (string, error) {
	if !validBytes(v) {
		return "", errNotText
	}
	return string(v), nil
}
