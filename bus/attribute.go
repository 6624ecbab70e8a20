package bus

import (
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// attribute reads an entry of the map.
func (p *parser) attribute(b []byte) error {
	var name, value []byte
	for len(b) > 0 {
		num, v, n := consumeField(b)
		if n < 0 {
			return errTruncated
		}
		b = b[n:]
		switch num {
		case 1:
			name = v
		case 2:
			value = v
		}
	}
	kind, v, n, err := attributeValue(value)
	if err != nil {
		return err
	}
	return p.setAttribute(name, kind, v, n)
}

func (p *parser) setAttribute(name []byte, kind protowire.Number, v []byte, n int32) (err error) {
	switch string(name) { // no allocation: the compiler compares the bytes
	case attrSubject:
		if p.key = v; kind < valueString || kind == valueBytes || kind == valueTimestamp {
			var key string // somebody else's subject, which should have been a string
			key, err = attributeText(kind, v, n)
			p.key = []byte(key)
		}
	case attrContentType:
		if string(v) == TypeProtobuf {
			p.e.DataType = TypeProtobuf
			return nil
		}
		p.e.DataType, err = attributeText(kind, v, n)
	case attrTime:
		p.e.Time, err = parseTime(kind, v)
	case attrVersion:
		err = p.number(attrVersion, &p.e.Version, kind, v, n)
	case attrSequence:
		err = p.number(attrSequence, &p.e.Seq, kind, v, n)
	case attrSequenceLog:
		p.e.SeqLog, err = attributeText(kind, v, n)
	case attrSchema:
		err = p.setSchema(kind, v, n)
	default:
		err = p.setExt(name, kind, v, n)
	}
	return err
}

func (p *parser) setExt(name []byte, kind protowire.Number, v []byte, n int32) error {
	key, err := text(name)
	if err != nil {
		return err
	}
	value, err := attributeText(kind, v, n)
	if err != nil {
		return err
	}
	p.ext(key, value)
	return nil
}

// setSchema keeps a dataschema only where it says something new, which it doesn't in most events.
func (p *parser) setSchema(kind protowire.Number, v []byte, n int32) error {
	if p.schema = isDefaultURL(v, p.typ); p.schema || kind != valueBool && kind != valueInteger && len(v) == 0 {
		delete(p.e.Ext, attrSchema)
		return nil
	}
	value, err := attributeText(kind, v, n)
	p.ext(attrSchema, value)
	return err
}

// number takes an attribute that Tidings writes as a decimal. Somebody else's may hold anything: then it stays an
// extension like others.
func (p *parser) number(name string, to *uint64, kind protowire.Number, v []byte, n int32) error {
	*to = 0
	if kind == valueString {
		*to = decimal(string(v)) // no allocation: it doesn't outlive the call
	}
	if *to == 0 {
		value, err := attributeText(kind, v, n)
		if err != nil {
			return err
		}
		if *to = decimal(value); *to == 0 {
			p.ext(name, value)
			return nil
		}
	}
	delete(p.e.Ext, name)
	return nil
}

// decimal is the number that s is the decimal of, or 0 where s isn't one as Tidings writes it.
func decimal(s string) uint64 {
	u, err := strconv.ParseUint(s, 10, 64)
	if err != nil || s[0] == '0' {
		return 0
	}
	return u
}

// attributeText is an attribute's value in CloudEvents' canonical string form.
func attributeText(kind protowire.Number, v []byte, n int32) (string, error) {
	switch kind {
	case valueBool:
		return strconv.FormatBool(n != 0), nil
	case valueInteger:
		return strconv.FormatInt(int64(n), 10), nil
	case valueBytes:
		return base64.StdEncoding.EncodeToString(v), nil
	case valueTimestamp:
		t, err := parseTime(kind, v)
		return t.Format(time.RFC3339Nano), err
	default:
		return text(v)
	}
}

func (p *parser) ext(name, value string) {
	if p.e.Ext == nil {
		p.e.Ext = make(map[string]string)
	}
	p.e.Ext[name] = value
}

// attributeValue reads a CloudEventAttributeValue: its kind, and its bytes or its number.
func attributeValue(b []byte) (kind protowire.Number, v []byte, n int32, err error) {
	if num, v, size := consumeField(b); size == len(b) && num >= valueString && num <= valueTimestamp {
		return num, v, 0, nil // one field, as it should be
	}
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return 0, nil, 0, errTruncated
		}
		b = b[size:]
		switch {
		case typ == protowire.VarintType && (num == valueBool || num == valueInteger):
			var u uint64
			u, size = protowire.ConsumeVarint(b)
			kind, v, n = num, nil, int32(u)
		case typ == protowire.BytesType && num >= valueString && num <= valueTimestamp:
			v, size = protowire.ConsumeBytes(b)
			kind, n = num, 0
		default:
			size = protowire.ConsumeFieldValue(num, typ, b)
		}
		if size < 0 {
			return 0, nil, 0, errTruncated
		}
		b = b[size:]
	}
	return kind, v, n, nil
}

var errTime = errors.New("time is outside the years 1 to 9999")

// parseTime takes a Timestamp, or a string in RFC 3339 as some writers have it.
func parseTime(kind protowire.Number, b []byte) (time.Time, error) {
	if kind != valueTimestamp {
		t, err := time.Parse(time.RFC3339Nano, string(b))
		if err != nil {
			return time.Time{}, errors.New("time is neither a timestamp nor RFC 3339")
		}
		if sec := t.Unix(); sec < minSeconds || sec > maxSeconds {
			return time.Time{}, errTime
		}
		return t.UTC(), nil
	}
	var sec, nanos int64
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return time.Time{}, errTruncated
		}
		b = b[n:]
		if typ == protowire.VarintType && (num == 1 || num == 2) {
			var u uint64
			if u, n = protowire.ConsumeVarint(b); num == 1 {
				sec = int64(u)
			} else {
				nanos = int64(int32(u))
			}
		} else {
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return time.Time{}, errTruncated
		}
		b = b[n:]
	}
	if sec < minSeconds || sec > maxSeconds || nanos < 0 || nanos > 999_999_999 {
		return time.Time{}, errTime
	}
	return time.Unix(sec, nanos).UTC(), nil
}

// What a google.protobuf.Timestamp may hold: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
const (
	minSeconds = -62135596800
	maxSeconds = 253402300799
)
