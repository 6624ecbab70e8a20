package paging

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fingerprint is a hash of what a request asks for: its type, and every field but page_size and page_token. It goes
// by field numbers and values, for the bytes of a message may differ from one build to the next.
func fingerprint(req proto.Message) string {
	h := sha256.New()
	m := req.ProtoReflect()
	fmt.Fprint(h, m.Descriptor().FullName())
	writeMessage(h, m, func(name protoreflect.Name) bool { return name == "page_size" || name == "page_token" })
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:9])
}

func writeMessage(w io.Writer, m protoreflect.Message, skip func(protoreflect.Name) bool) {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !skip(f.Name()) {
			fields = append(fields, f)
		}
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Number(), b.Number()) })
	for _, f := range fields {
		fmt.Fprintf(w, "{%d", f.Number())
		writeField(w, f, m.Get(f))
		fmt.Fprint(w, "}")
	}
}

func writeField(w io.Writer, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case f.IsList():
		for i := range v.List().Len() {
			writeValue(w, v.List().Get(i))
		}
	case f.IsMap():
		writeMap(w, v.Map())
	default:
		writeValue(w, v)
	}
}

func writeMap(w io.Writer, m protoreflect.Map) {
	var keys []protoreflect.MapKey
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return cmp.Compare(a.String(), b.String()) })
	for _, k := range keys {
		writeValue(w, k.Value())
		writeValue(w, m.Get(k))
	}
}

// writeValue quotes strings and bytes, so that no two lists of values read alike.
func writeValue(w io.Writer, v protoreflect.Value) {
	switch x := v.Interface().(type) {
	case protoreflect.Message:
		fmt.Fprint(w, "(")
		writeMessage(w, x, func(protoreflect.Name) bool { return false })
		fmt.Fprint(w, ")")
	case string, []byte:
		fmt.Fprintf(w, " %q", x)
	default:
		fmt.Fprintf(w, " %v", x)
	}
}
