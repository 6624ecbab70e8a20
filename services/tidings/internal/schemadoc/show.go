package schemadoc

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Shown is a message, an enum or a service, as a state has it.
type Shown struct {
	Kind    string   `json:"kind"` // message, enum or service
	Name    string   `json:"name"`
	Release string   `json:"release"` // the state: a release, or today
	Since   string   `json:"since"`   // the first release that has it, or unreleased
	Comment string   `json:"comment,omitempty"`
	Members []Member `json:"members"` // in order of declaration
}

// Member is a field of a message, a value of an enum, or an RPC of a service.
type Member struct {
	Name       string `json:"name"`
	Number     int32  `json:"number"` // 0 for an RPC
	Type       string `json:"type,omitempty"`
	Presence   string `json:"presence,omitempty"` // of a field: what it means that it is not there
	Deprecated bool   `json:"deprecated,omitempty"`
	Since      string `json:"since"`
	Comment    string `json:"comment,omitempty"`
}

// Show describes a type of a state, by its full name.
func (c *Contracts) Show(s *State, name string) (Shown, error) {
	d, err := s.find(name)
	if err != nil {
		return Shown{}, err
	}
	shown := Shown{Name: name, Release: s.Name, Comment: s.comments(d)}
	switch d := d.(type) {
	case protoreflect.MessageDescriptor:
		shown.Kind = "message"
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			m := c.member(s, "field", f.FullName(), f)
			m.Number, m.Type, m.Presence = int32(f.Number()), typeText(f), presence(f)
			shown.Members = append(shown.Members, m)
		}
	case protoreflect.EnumDescriptor:
		shown.Kind = "enum"
		for i := range d.Values().Len() {
			v := d.Values().Get(i)
			m := c.member(s, "value", d.FullName().Append(v.Name()), v)
			m.Number = int32(v.Number())
			shown.Members = append(shown.Members, m)
		}
	case protoreflect.ServiceDescriptor:
		shown.Kind = "service"
		for i := range d.Methods().Len() {
			rpc := d.Methods().Get(i)
			m := c.member(s, "rpc", rpc.FullName(), rpc)
			m.Type = s.elements[s.byName["rpc "+string(rpc.FullName())]].Detail
			shown.Members = append(shown.Members, m)
		}
	}
	shown.Since = c.Since(Element{Kind: shown.Kind, Name: name})
	return shown, nil
}

// member is what all kinds of members have.
func (c *Contracts) member(s *State, kind string, full protoreflect.FullName, d protoreflect.Descriptor) Member {
	m := Member{Name: string(d.Name()), Since: c.Since(Element{Kind: kind, Name: string(full)}), Comment: s.comments(d)}
	if o, ok := d.Options().(interface{ GetDeprecated() bool }); ok {
		m.Deprecated = o.GetDeprecated()
	}
	return m
}
