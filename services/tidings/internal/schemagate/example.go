package schemagate

import (
	"crypto/sha256"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// exampleTime is when all that is made up happened, so that the same command makes the same bytes.
func exampleTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// exampleKey is the key of a case: a UUIDv7 that no other case has, and always the same.
func exampleKey(typ, name string) string {
	sum := sha256.Sum256([]byte(typ + "/" + name))
	var id uuid.UUID
	copy(id[:], sum[:16])
	ms := exampleTime().UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id.String()
}

// examples makes messages of a type which together say all that it can say: each has every field set that it can have at
// once, and there are as many as its enums and oneofs need. The same arguments give the same messages.
func examples(t protoreflect.MessageType, key func(i int) string, version uint64) []protoreflect.Message {
	lacks := map[string]bool{}
	for _, n := range needs(t.Descriptor()) {
		lacks[n.path] = true
	}
	var all []protoreflect.Message
	// Each example chooses what none before it did. One that adds nothing is the last, whatever is lacking then.
	for before := -1; len(lacks) > 0 && len(lacks) != before; {
		before = len(lacks)
		f := filler{lacks: lacks, key: key(len(all)), version: version}
		m := t.New()
		f.fill(m, "", nil)
		all = append(all, m)
		said := map[string]bool{}
		note(said, m, "")
		for path := range said {
			delete(lacks, path)
		}
	}
	if len(all) == 0 { // a message without fields says all that it can by being there
		all = append(all, t.New())
	}
	return all
}

// filler sets every field of one message.
type filler struct {
	lacks   map[string]bool // what no message before has said
	key     string
	version uint64
}

// fill sets the fields of m in the order in which they are declared, so that the same type gives the same example. Of a
// oneof only one can be set.
func (f *filler) fill(m protoreflect.Message, prefix string, within []protoreflect.FullName) {
	d := m.Descriptor()
	within = append(within[:len(within):len(within)], d.FullName())
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		if one := field.ContainingOneof(); one != nil && f.member(one, prefix) != field {
			continue
		}
		f.set(m, field, prefix+string(field.Name()), within)
	}
}

// member chooses one field of a oneof: the first with something in it that was not said yet.
func (f *filler) member(one protoreflect.OneofDescriptor, prefix string) protoreflect.FieldDescriptor {
	for i := range one.Fields().Len() {
		path := prefix + string(one.Fields().Get(i).Name())
		for lacking := range f.lacks {
			if rest, ok := strings.CutPrefix(lacking, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '=') {
				return one.Fields().Get(i)
			}
		}
	}
	return one.Fields().Get(0)
}

// set sets one field: of a list one element, of a map one entry, for one is enough to show that they are read.
func (f *filler) set(m protoreflect.Message, field protoreflect.FieldDescriptor, path string, within []protoreflect.FullName) {
	switch {
	case field.IsMap():
		key := f.scalar(field.MapKey(), "key")
		entries := m.Mutable(field).Map()
		if field.MapValue().Message() == nil {
			entries.Set(key.MapKey(), f.scalar(field.MapValue(), path))
			return
		}
		f.fillMessage(m, entries.Mutable(key.MapKey()).Message(), path, within)
	case field.IsList() && field.Message() != nil:
		f.fillMessage(m, m.Mutable(field).List().AppendMutable().Message(), path, within)
	case field.IsList():
		m.Mutable(field).List().Append(f.scalar(field, path))
	case field.Message() != nil:
		f.fillMessage(m, m.Mutable(field).Message(), path, within)
	default:
		m.Set(field, f.scalar(field, path))
	}
}

// fillMessage fills sub, a field of m. A message within itself stays empty, for it has no end.
func (f *filler) fillMessage(m, sub protoreflect.Message, path string, within []protoreflect.FullName) {
	name := sub.Descriptor().FullName()
	if well(sub.Descriptor()) {
		fillWell(m, sub)
		return
	}
	for _, outer := range within {
		if outer == name {
			return
		}
	}
	f.fill(sub, path+".", within)
}

// fillWell fills protobuf's own messages, as far as they mean something by themselves.
func fillWell(m, sub protoreflect.Message) {
	field := func(name protoreflect.Name) protoreflect.FieldDescriptor {
		return sub.Descriptor().Fields().ByName(name)
	}
	switch sub.Descriptor().FullName() {
	case "google.protobuf.Timestamp":
		sub.Set(field("seconds"), protoreflect.ValueOfInt64(exampleTime().Unix()))
	case "google.protobuf.Duration":
		sub.Set(field("seconds"), protoreflect.ValueOfInt64(90))
	case "google.protobuf.FieldMask":
		paths := sub.Mutable(field("paths")).List()
		for _, path := range masked(m.Descriptor()) {
			paths.Append(protoreflect.ValueOfString(path))
		}
	}
}

// masked is what a field mask in m may name: the fields of the message beside it, but for who, which version, and when.
func masked(m protoreflect.MessageDescriptor) (paths []string) {
	for i := range m.Fields().Len() {
		beside := m.Fields().Get(i).Message()
		if beside == nil || well(beside) {
			continue
		}
		for j := range beside.Fields().Len() {
			f := beside.Fields().Get(j)
			if f.Name() != "id" && f.Name() != "version" && (f.Message() == nil || !well(f.Message())) {
				paths = append(paths, string(f.Name()))
			}
		}
		return paths
	}
	return []string{"name"}
}

// scalar makes up the value of a field that is no message.
func (f *filler) scalar(field protoreflect.FieldDescriptor, path string) protoreflect.Value {
	n := int64(field.Number())
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(f.text(field))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(field.Name()))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.value(field.Enum(), path))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n) + 0.5)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) + 0.5)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if field.Name() == versionField {
			return protoreflect.ValueOfUint64(f.version)
		}
		return protoreflect.ValueOfUint64(uint64(n))
	default: // the signed ones of 64 bits are all that is left
		return protoreflect.ValueOfInt64(n)
	}
}

// value chooses one of an enum, not 0: the first that was not said yet.
func (f *filler) value(e protoreflect.EnumDescriptor, path string) protoreflect.EnumNumber {
	chosen := protoreflect.EnumNumber(0)
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		switch {
		case v.Number() == 0:
		case f.lacks[path+"="+string(v.Name())]:
			return v.Number()
		case chosen == 0:
			chosen = v.Number()
		}
	}
	return chosen
}

// text makes up a string that consumers take for what its field's name says. Another is its own name, in words.
func (f *filler) text(field protoreflect.FieldDescriptor) string {
	switch field.Name() {
	case keyField:
		return f.key
	case "email":
		return "ada." + f.key[len(f.key)-12:] + "@example.org" // no two have one
	case "name":
		return "Ada Augusta Lovelace"
	case "given":
		return "Ada Augusta"
	case "family":
		return "Lovelace"
	case "display_name":
		return "Ada"
	case "locale":
		return "de-CH"
	case "phone":
		return "+41443643232"
	}
	return strings.ReplaceAll(string(field.Name()), "_", " ")
}
