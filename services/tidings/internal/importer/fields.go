package importer

import "strings"

// field is what an input may say of a user.
type field struct {
	name string               // as the door has it in its JSON
	of   func(r *Row) *string // where a Row keeps it
}

// fields are all, in the order in which faults are told and bad rows written. The first two are those that every release
// has known.
func fields() []field {
	return []field{
		{"email", func(r *Row) *string { return &r.Email }},
		{"name", func(r *Row) *string { return &r.Name }},
		{"displayName", func(r *Row) *string { return &r.DisplayName }},
		{"locale", func(r *Row) *string { return &r.Locale }},
		{"phone", func(r *Row) *string { return &r.Phone }},
		{"givenName", func(r *Row) *string { return &r.GivenName }},
		{"familyName", func(r *Row) *string { return &r.FamilyName }},
		{"nameOrder", func(r *Row) *string { return &r.NameOrder }},
	}
}

// column is the field's name in a file that spells it as databases do: "display_name".
func (f field) column() string {
	var b strings.Builder
	for _, r := range f.name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

// is reports whether a column of a CSV, or a member of a JSON object, is the field, in either spelling and any case.
func (f field) is(name string) bool {
	return strings.EqualFold(name, f.name) || strings.EqualFold(name, f.column())
}

// inParts reports whether the name is to be sent in parts: they are looked at only where there is no name in one
// string, for files with all three are common, and the door takes one form of the two.
func (r *Row) inParts() bool { return r.Name == "" && (r.GivenName != "" || r.FamilyName != "") }

// body is what the door is sent: address and name always, so that it says what is missing, and what else there is.
func (r *Row) body() map[string]string {
	body := map[string]string{"email": r.Email, "name": r.Name}
	for _, f := range fields()[2:] {
		part := f.name == "givenName" || f.name == "familyName" || f.name == "nameOrder"
		if value := *f.of(r); value != "" && (!part || r.inParts()) {
			body[f.name] = value
		}
	}
	return body
}
