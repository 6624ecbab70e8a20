package schemadoc

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schemaRef points to the schema of a message or an enum.
func schemaRef(name protoreflect.FullName) object {
	return object{{"$ref", "#/components/schemas/" + string(name)}}
}

// described puts a comment into a schema. Beside a $ref nothing counts, so that goes inside.
func described(schema object, comment string) object {
	if comment == "" {
		return schema
	}
	if schema.get("$ref") != nil {
		schema = object{{"allOf", list{schema}}}
	}
	return append(object{{"description", comment}}, schema...)
}

// messageSchema is the JSON Schema of a message's JSON form (protojson). Nothing in it is required, for what is zero or
// absent is left out, and what it doesn't name is allowed, for newer publishers say more.
func (s *State) messageSchema(m protoreflect.MessageDescriptor) object {
	properties := object{}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		schema := described(fieldSchema(f), s.comments(f))
		properties = append(properties, member{f.JSONName(), append(schema, member{"x-protobuf-number", int(f.Number())})})
	}
	return described(object{{"type", "object"}, {"title", string(m.FullName())}, {"properties", properties}}, s.comments(m))
}

// enumSchema is that of an enum: its values by name, and a number for one that this release doesn't know.
func (s *State) enumSchema(e protoreflect.EnumDescriptor) object {
	names := list{}
	for i := range e.Values().Len() {
		names = append(names, string(e.Values().Get(i).Name()))
	}
	return described(object{{"title", string(e.FullName())}, {"anyOf", list{
		object{{"type", "string"}, {"enum", names}},
		object{{"type", "integer"}, {"description", "A value that was added later."}},
	}}}, s.comments(e))
}

func fieldSchema(f protoreflect.FieldDescriptor) object {
	switch {
	case f.IsMap():
		return object{{"type", "object"}, {"additionalProperties", valueSchema(f.MapValue())}}
	case f.IsList():
		return object{{"type", "array"}, {"items", valueSchema(f)}}
	}
	return valueSchema(f)
}

// valueSchema is that of one value: of a scalar as protojson writes it, 64 bits in a string.
func valueSchema(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{{"type", "boolean"}}
	case protoreflect.StringKind:
		return object{{"type", "string"}}
	case protoreflect.BytesKind:
		return object{{"type", "string"}, {"contentEncoding", "base64"}}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return object{{"anyOf", list{
			object{{"type", "number"}}, object{{"type", "string"}, {"enum", list{"NaN", "Infinity", "-Infinity"}}},
		}}}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{{"type", "integer"}, {"format", "int32"}}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{{"type", "integer"}, {"format", "uint32"}, {"minimum", 0}}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return object{{"type", "string"}, {"format", "int64"}, {"pattern", "^-?[0-9]+$"}}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{{"type", "string"}, {"format", "uint64"}, {"pattern", "^[0-9]+$"}}
	case protoreflect.EnumKind:
		return schemaRef(f.Enum().FullName())
	}
	return messageRef(f.Message().FullName())
}

// wellKnown is the package of Google's own messages.
const wellKnown = "google.protobuf"

// messageRef is the schema of a message within another. Google's own have JSON forms of their own.
func messageRef(name protoreflect.FullName) object {
	known := map[protoreflect.FullName]object{
		"google.protobuf.Timestamp": {{"type", "string"}, {"format", "date-time"}},
		"google.protobuf.Duration":  {{"type", "string"}, {"pattern", `^-?[0-9]+(\.[0-9]+)?s$`}},
		"google.protobuf.FieldMask": {{"type", "string"}, {"title", "names of fields, with commas between"}},
	}
	if schema := known[name]; schema != nil {
		return schema
	}
	if name.Parent() == wellKnown {
		return object{} // anything
	}
	return schemaRef(name)
}

// schemasOf adds the schemas of a message and of all that it holds, each once, in the order in which they are met.
func (s *State) schemasOf(all object, m protoreflect.MessageDescriptor) object {
	if all.get(string(m.FullName())) != nil || m.ParentFile().Package() == wellKnown {
		return all
	}
	all = append(all, member{string(m.FullName()), s.messageSchema(m)})
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if f.IsMap() {
			f = f.MapValue()
		}
		switch e := f.Enum(); {
		case f.Message() != nil:
			all = s.schemasOf(all, f.Message())
		case e != nil && all.get(string(e.FullName())) == nil:
			all = append(all, member{string(e.FullName()), s.enumSchema(e)})
		}
	}
	return all
}
