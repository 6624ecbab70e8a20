package schemadoc

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Element is one thing that a contract declares.
type Element struct {
	Kind   string `json:"kind"` // message, field, enum, value, service or rpc
	Name   string `json:"name"` // in full; that of a value has its enum in it: users.events.v2.NameOrder.NAME_ORDER_…
	Detail string `json:"detail,omitempty"`
	parent string
}

// key finds the same element in another state.
func (e *Element) key() string { return e.Kind + " " + e.Name }

// collect lists everything that the files declare.
func (s *State) collect() {
	s.byName = make(map[string]int)
	for _, f := range s.files {
		s.messages(f.Messages())
		s.enums(f.Enums())
		for i := range f.Services().Len() {
			s.service(f.Services().Get(i))
		}
	}
}

func (s *State) add(kind string, parent, name protoreflect.FullName, detail string) {
	e := Element{Kind: kind, Name: string(name), Detail: detail, parent: string(parent)}
	s.byName[e.key()] = len(s.elements)
	s.elements = append(s.elements, e)
}

func (s *State) messages(all protoreflect.MessageDescriptors) {
	for i := range all.Len() {
		m := all.Get(i)
		if m.IsMapEntry() {
			continue
		}
		s.add("message", m.Parent().FullName(), m.FullName(), "")
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			s.add("field", m.FullName(), f.FullName(), fmt.Sprintf("%s = %d", typeText(f), f.Number()))
		}
		s.messages(m.Messages())
		s.enums(m.Enums())
	}
}

func (s *State) enums(all protoreflect.EnumDescriptors) {
	for i := range all.Len() {
		e := all.Get(i)
		s.add("enum", e.Parent().FullName(), e.FullName(), "")
		for i := range e.Values().Len() {
			v := e.Values().Get(i)
			s.add("value", e.FullName(), e.FullName().Append(v.Name()), fmt.Sprintf("= %d", v.Number()))
		}
	}
}

func (s *State) service(d protoreflect.ServiceDescriptor) {
	s.add("service", d.Parent().FullName(), d.FullName(), "")
	for i := range d.Methods().Len() {
		m := d.Methods().Get(i)
		s.add("rpc", d.FullName(), m.FullName(), fmt.Sprintf("(%s%s) returns (%s%s)",
			stream(m.IsStreamingClient()), m.Input().FullName(), stream(m.IsStreamingServer()), m.Output().FullName()))
	}
}

func stream(is bool) string {
	if is {
		return "stream "
	}
	return ""
}

// typeText is a field's type as it is declared: "optional string", "repeated users.v1.User", "map<string, int64>".
func typeText(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map<%s, %s>", plainType(f.MapKey()), plainType(f.MapValue()))
	case f.IsList():
		return "repeated " + plainType(f)
	case f.HasOptionalKeyword():
		return "optional " + plainType(f)
	}
	return plainType(f)
}

func plainType(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return string(f.Message().FullName())
	case f.Enum() != nil:
		return string(f.Enum().FullName())
	}
	return f.Kind().String()
}

// Presence says what it means that a field is not there.
func presence(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsList(), f.IsMap():
		return "may be empty"
	case f.ContainingOneof() != nil && !f.HasOptionalKeyword():
		return "one of " + string(f.ContainingOneof().Name())
	case f.HasPresence():
		return "may be absent"
	}
	return "absent is zero"
}

// EventTypes are the messages that are published, in order of package and place: those of a package of events
// (users.events.v1) that are no part of another message.
func (s *State) EventTypes() []protoreflect.MessageDescriptor {
	parts := make(map[protoreflect.FullName]bool)
	var all []protoreflect.MessageDescriptor
	for _, f := range s.files {
		if !isEvents(f.Package()) {
			continue
		}
		for i := range f.Messages().Len() {
			m := f.Messages().Get(i)
			all = append(all, m)
			markParts(m, m.FullName(), parts)
		}
	}
	var events []protoreflect.MessageDescriptor
	for _, m := range all {
		if !parts[m.FullName()] {
			events = append(events, m)
		}
	}
	return events
}

// markParts marks the types of m's fields, and of those of the messages within it, of which a map's entry is one. The gate
// (schemagate) has the same rule.
func markParts(m protoreflect.MessageDescriptor, top protoreflect.FullName, parts map[protoreflect.FullName]bool) {
	for i := range m.Fields().Len() {
		if of := m.Fields().Get(i).Message(); of != nil && of.FullName() != top {
			parts[of.FullName()] = true
		}
	}
	for i := range m.Messages().Len() {
		markParts(m.Messages().Get(i), top, parts)
	}
}

// isEvents tells packages of events, as users.events.v1, from those of RPCs.
func isEvents(pkg protoreflect.FullName) bool { return pkg.Parent().Name() == "events" }

// find finds a message, an enum or a service by its full name. Its error names the nearest.
func (s *State) find(name string) (protoreflect.Descriptor, error) {
	var known []string
	for _, e := range s.elements {
		if e.Kind != "message" && e.Kind != "enum" && e.Kind != "service" {
			continue
		}
		if known = append(known, e.Name); e.Name == name {
			return s.descriptor(protoreflect.FullName(name)), nil
		}
	}
	what := "type"
	if s.Name != Today {
		what = "type of " + s.Name
	}
	return nil, unknown(what, name, known)
}

// descriptor finds what collect has found, of the three kinds that have members.
func (s *State) descriptor(name protoreflect.FullName) protoreflect.Descriptor {
	for _, f := range s.files {
		if found := within(f, name); found != nil {
			return found
		}
	}
	return nil
}

// scoped is what messages and enums are declared in.
type scoped interface {
	Messages() protoreflect.MessageDescriptors
	Enums() protoreflect.EnumDescriptors
}

func within(in scoped, name protoreflect.FullName) protoreflect.Descriptor {
	if f, ok := in.(protoreflect.FileDescriptor); ok {
		for i := range f.Services().Len() {
			if d := f.Services().Get(i); d.FullName() == name {
				return d
			}
		}
	}
	for i := range in.Enums().Len() {
		if d := in.Enums().Get(i); d.FullName() == name {
			return d
		}
	}
	for i := range in.Messages().Len() {
		d := in.Messages().Get(i)
		if d.FullName() == name {
			return d
		}
		if found := within(d, name); found != nil {
			return found
		}
	}
	return nil
}
