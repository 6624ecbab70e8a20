package kafka

import (
	"strings"
	"unicode/utf8"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// What CloudEvents' binding for Kafka calls the headers of binary mode. The value of each is the attribute's canonical
// string as it is, in UTF-8: nothing is escaped, as it would be over HTTP.
const (
	headerContentType = "content-type" // attribute datacontenttype, or the event format of structured mode
	headerPrefix      = "ce_"          // and the attribute's name
	headerSpecVersion = headerPrefix + attrSpecVersion

	attrContentType = "datacontenttype"
	attrSpecVersion = "specversion"
)

// appendHeaders makes headers of attributes, with the same memory behind their values.
func appendHeaders(headers []ck.Header, attrs []bus.Attribute) []ck.Header {
	for _, a := range attrs {
		headers = append(headers, ck.Header{Key: headerOf(a.Name), Value: a.Value})
	}
	return headers
}

// headerOf names the header of an attribute. Those of every event cost no memory.
func headerOf(attr string) string {
	switch attr {
	case attrContentType:
		return headerContentType
	case attrSpecVersion:
		return headerSpecVersion
	case "id":
		return headerPrefix + "id"
	case "source":
		return headerPrefix + "source"
	case "type":
		return headerPrefix + "type"
	case "subject":
		return headerPrefix + "subject"
	case "time":
		return headerPrefix + "time"
	case "version":
		return headerPrefix + "version"
	case "traceparent":
		return headerPrefix + "traceparent"
	}
	return headerPrefix + attr
}

// appendAttributes makes attributes of headers. Others than those of CloudEvents are passed over, and so is one whose
// value is null. Names are taken in any case, as the SDKs for Go and Java do.
//
// Some publishers send the data's media type as ce_datacontenttype; by the binding it is content-type that counts.
func appendAttributes(attrs []bus.Attribute, headers []ck.Header) []bus.Attribute {
	typed := len(contentType(headers)) > 0
	for i := range headers {
		h := &headers[i]
		name, ok := attributeOf(h.Key)
		if !ok || h.Value == nil || typed && name == attrContentType && !is(h.Key, headerContentType) {
			continue
		}
		attrs = append(attrs, bus.Attribute{Name: name, Value: h.Value})
	}
	return attrs
}

// attributeOf is what headerOf undoes.
func attributeOf(header string) (attr string, ok bool) {
	if is(header, headerContentType) {
		return attrContentType, true
	}
	if len(header) < len(headerPrefix) || !is(header[:len(headerPrefix)], headerPrefix) {
		return "", false
	}
	return lower(header[len(headerPrefix):]), true
}

// lower leaves letters beyond ASCII alone, some of which are folded into it otherwise (the Kelvin sign into "k"): no
// attribute has one in its name.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return s
		}
	}
	return strings.ToLower(s) // no allocation for what is lower-case
}

// contentType returns the header's value, nil when there is none.
func contentType(headers []ck.Header) []byte {
	for i := range headers {
		if is(headers[i].Key, headerContentType) {
			return headers[i].Value
		}
	}
	return nil
}

// hasSpecVersion reports whether a record without a CloudEvents media type is an event all the same.
func hasSpecVersion(headers []ck.Header) bool {
	for i := range headers {
		if is(headers[i].Key, headerSpecVersion) {
			return true
		}
	}
	return false
}

// is compares the names of headers, whose case varies between publishers.
func is(header, name string) bool {
	return header == name || len(header) == len(name) && strings.EqualFold(header, name)
}
