package bus

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// TypeEnvelope is the media type of [Event.AppendEnvelope]'s bytes: CloudEvents' structured mode in protobuf
// format. It stands in the content-type header where a backend has headers.
const TypeEnvelope = "application/cloudevents+protobuf"

// The envelope is the message io.cloudevents.v1.CloudEvent, written by hand over protowire. Generated code for
// it would clash with the CloudEvents SDK's in a program that links both ("name conflict" at start), and this is
// several times as fast. The numbers are those of cloudevents.proto, CloudEvents 1.0.
const (
	fieldID          = 1
	fieldSource      = 2
	fieldSpecVersion = 3
	fieldType        = 4
	fieldAttributes  = 5 // map<string, CloudEventAttributeValue>
	fieldBinaryData  = 6
	fieldTextData    = 7
	fieldProtoData   = 8 // google.protobuf.Any

	valueBool      = 1
	valueInteger   = 2
	valueString    = 3
	valueBytes     = 4
	valueURI       = 5
	valueURIRef    = 6
	valueTimestamp = 7
)

// Attributes that travel in the map. A CloudEvents Integer has 32 bits, so the numbers travel as decimal strings.
const (
	attrSubject     = "subject"
	attrTime        = "time"
	attrContentType = "datacontenttype"
	attrSchema      = "dataschema"
	attrVersion     = "version"
	attrSequence    = "sequence"
	attrSequenceLog = "sequencelog"
)

const (
	specVersion = "1.0"
	// typeURLPrefix and the type make the type URL of an Any, as every Any.pack writes it.
	typeURLPrefix = "type.googleapis.com/"
	// schemaPrefix makes the same URL of it for dataschema, which must be an absolute URI: receivers of the
	// CloudEvents SDK refuse an event whose dataschema has no scheme. Without one, any.proto says, it is https.
	schemaPrefix = "https://" + typeURLPrefix
)

// AppendEnvelope appends e to b as a CloudEvent in protobuf format (structured mode) and returns the result. Data
// is copied as it is: Protobuf data into proto_data, whose type URL is Ext["dataschema"] or made of Type; any
// other data into binary_data. Protobuf data always has a dataschema, as the format asks. The same event always
// gives the same bytes. At and Err have no place in it. It does not check e: see [Event.Validate].
func (e *Event) AppendEnvelope(b []byte) []byte {
	b = slices.Grow(b, e.Size())
	b = appendString(b, fieldID, e.ID)
	b = appendString(b, fieldSource, e.Source)
	b = appendString(b, fieldSpecVersion, specVersion)
	b = appendString(b, fieldType, e.Type)
	if e.Key != "" {
		b = appendAttribute(b, attrSubject, valueString, "", e.Key)
	}
	if !e.Time.IsZero() {
		b = appendTime(b, e.Time)
	}
	b = appendAttribute(b, attrContentType, valueString, "", e.dataType())
	if e.Version != 0 {
		b = appendNumber(b, attrVersion, e.Version)
	}
	if e.Seq != 0 {
		b = appendNumber(b, attrSequence, e.Seq)
	}
	if e.SeqLog != "" {
		b = appendAttribute(b, attrSequenceLog, valueString, "", e.SeqLog)
	}
	if e.isProto() && e.Ext[attrSchema] == "" {
		b = appendAttribute(b, attrSchema, valueURI, schemaPrefix, e.Type)
	}
	if len(e.Ext) > 0 {
		b = e.appendExt(b)
	}
	return e.appendData(b)
}

// Size bounds from above, within a few hundred bytes and without encoding, what e takes in a log: its envelope and
// its key, in bytes.
func (e *Event) Size() int {
	// An upper bound without encoding: each attribute costs its name, its value and at most 16 bytes of framing. Type
	// stands there three times; a schema of its own twice, for it is the type URL of the data as well.
	n := len(e.ID) + len(e.Source) + 2*len(e.Key) + 3*len(e.Type) + len(e.DataType) + len(e.SeqLog) + len(e.Data) + 400
	n += len(e.Ext[attrSchema])
	for k, v := range e.Ext {
		n += len(k) + len(v) + 16
	}
	return n
}

func (e *Event) isProto() bool { return e.DataType == "" || e.DataType == TypeProtobuf }

func (e *Event) appendExt(b []byte) []byte {
	for _, name := range slices.Sorted(maps.Keys(e.Ext)) {
		kind := protowire.Number(valueString)
		if name == attrSchema {
			if e.Ext[name] == "" {
				continue
			}
			kind = valueURI
		}
		b = appendAttribute(b, name, kind, "", e.Ext[name])
	}
	return b
}

func (e *Event) appendData(b []byte) []byte {
	if !e.isProto() {
		b = appendHead(b, fieldBinaryData, len(e.Data))
		return append(b, e.Data...)
	}
	prefix, name := typeURLPrefix, e.Type
	if schema := e.Ext[attrSchema]; schema != "" {
		prefix, name = "", schema
	}
	url := len(prefix) + len(name)
	size := sizeField(url)
	if len(e.Data) > 0 {
		size += sizeField(len(e.Data))
	}
	b = appendHead(b, fieldProtoData, size)
	b = appendHead(b, 1, url)
	b = append(append(b, prefix...), name...)
	if len(e.Data) > 0 {
		b = appendHead(b, 2, len(e.Data))
		b = append(b, e.Data...)
	}
	return b
}

// sizeField is the size of a length-delimited field with a number below 16.
func sizeField(n int) int {
	if n < 0x80 {
		return 2 + n
	}
	return 1 + protowire.SizeBytes(n)
}

// appendHead appends what a length-delimited field of size bytes, with a number below 16, begins with.
func appendHead(b []byte, field protowire.Number, size int) []byte {
	tag := byte(field)<<3 | byte(protowire.BytesType)
	if size < 0x80 {
		return append(b, tag, byte(size))
	}
	return protowire.AppendVarint(append(b, tag), uint64(size))
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	return append(appendHead(b, field, len(s)), s...)
}

// appendAttributeHead appends a map entry up to the value's own field, which takes size bytes.
func appendAttributeHead(b []byte, name string, size int) []byte {
	b = appendHead(b, fieldAttributes, sizeField(len(name))+sizeField(size))
	b = appendString(b, 1, name)
	return appendHead(b, 2, size)
}

// appendAttribute appends the attribute whose value is prefix and value together.
func appendAttribute(b []byte, name string, kind protowire.Number, prefix, value string) []byte {
	n := len(prefix) + len(value)
	b = appendAttributeHead(b, name, sizeField(n))
	b = appendHead(b, kind, n)
	return append(append(b, prefix...), value...)
}

func appendNumber(b []byte, name string, v uint64) []byte {
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], v, 10)
	b = appendAttributeHead(b, name, sizeField(len(d)))
	b = appendHead(b, valueString, len(d))
	return append(b, d...)
}

func appendTime(b []byte, t time.Time) []byte {
	var stamp [24]byte
	s := stamp[:0]
	if sec := t.Unix(); sec != 0 {
		s = protowire.AppendVarint(protowire.AppendTag(s, 1, protowire.VarintType), uint64(sec))
	}
	if ns := t.Nanosecond(); ns != 0 {
		s = protowire.AppendVarint(protowire.AppendTag(s, 2, protowire.VarintType), uint64(ns))
	}
	b = appendAttributeHead(b, attrTime, sizeField(len(s)))
	b = appendHead(b, valueTimestamp, len(s))
	return append(b, s...)
}
