package schemagate

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// need is something that an event of a type can say, and that some golden event must therefore have said.
type need struct {
	path string                  // "user.name.order", or of an enum's value "user.name.order=NAME_ORDER_FAMILY_FIRST"
	at   protoreflect.Descriptor // the field or the value
}

// needs lists all that an event of type m can say: each field that can be reached, and each value of an enum but 0, which
// is the same as nothing. A message within itself is not followed.
func needs(m protoreflect.MessageDescriptor) []need { return appendNeeds(nil, m, "", nil) }

// appendNeeds goes through the fields of m. within are the messages around it, by which one that holds itself is found.
func appendNeeds(all []need, m protoreflect.MessageDescriptor, prefix string, within []protoreflect.FullName) []need {
	within = append(within, m.FullName())
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		path := prefix + string(f.Name())
		all = append(all, need{path, f})
		of := f
		if f.IsMap() {
			of = f.MapValue()
		}
		if e := of.Enum(); e != nil {
			all = appendValues(all, e, path)
		}
		if sub := of.Message(); sub != nil && !well(sub) && !slices.Contains(within, sub.FullName()) {
			all = appendNeeds(all, sub, path+".", within[:len(within):len(within)])
		}
	}
	return all
}

// appendValues adds what a field of an enum can say. Names do not travel, so of two for one number the first stands for both.
func appendValues(all []need, e protoreflect.EnumDescriptor, path string) []need {
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if v.Number() != 0 && e.Values().ByNumber(v.Number()) == v { // an alias says nothing of its own
			all = append(all, need{path + "=" + string(v.Name()), v})
		}
	}
	return all
}

// note adds to said what a message says. A field that is present counts, empty or not.
func note(said map[string]bool, m protoreflect.Message, prefix string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		path := prefix + string(f.Name())
		said[path] = true
		switch {
		case f.IsList():
			for i := range v.List().Len() {
				noteValue(said, f, v.List().Get(i), path)
			}
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				noteValue(said, f.MapValue(), v, path)
				return true
			})
		default:
			noteValue(said, f, v, path)
		}
		return true
	})
}

// noteValue notes one value of a field, of which a list or a map has many. A number that the enum does not know was said by
// somebody newer, and makes up for nothing here.
func noteValue(said map[string]bool, f protoreflect.FieldDescriptor, v protoreflect.Value, path string) {
	switch {
	case f.Enum() != nil:
		if value := f.Enum().Values().ByNumber(v.Enum()); value != nil {
			said[path+"="+string(value.Name())] = true
		}
	case f.Message() != nil && !well(f.Message()):
		note(said, v.Message(), path+".")
	}
}

// unknowns lists where a message has fields that its type does not: "user" for one within the user, "" at the top.
func unknowns(m protoreflect.Message, prefix string) (found []string) {
	if len(m.GetUnknown()) > 0 {
		found = append(found, prefix)
	}
	within := func(f protoreflect.FieldDescriptor, v protoreflect.Value) {
		if f.Message() != nil {
			found = append(found, unknowns(v.Message(), prefix+"."+string(f.Name()))...)
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			for i := range v.List().Len() {
				within(f, v.List().Get(i))
			}
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { within(f.MapValue(), v); return true })
		default:
			within(f, v)
		}
		return true
	})
	return found
}
