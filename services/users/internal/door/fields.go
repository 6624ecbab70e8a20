package door

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// The names of fields, in the spelling of an answer.
const (
	fieldName   = "name"
	fieldGiven  = "givenName"
	fieldFamily = "familyName"
	fieldOrder  = "nameOrder"
)

// readCreate returns what a POST asks for, or the problem that names all its faults. What it returns is what is stored:
// the address as it was written, names without white space around them, locale and number in their canonical form. An
// empty field is one that is not there: protobuf tells no difference in a POST.
func readCreate(body []byte) (store.Profile, error) {
	var m usersv1.CreateUserRequest
	faults, err := parse(body, &m)
	if err != nil {
		return store.Profile{}, err
	}
	c := fieldChecks{faults: faults}
	p := store.Profile{
		Email:       c.text("email", m.GetEmail(), asIs(checkEmail)),
		DisplayName: c.text("displayName", m.GetDisplayName(), trimmed(checkLine)),
		Locale:      c.text("locale", m.GetLocale(), readLocale),
		Phone:       c.text("phone", m.GetPhone(), readPhone),
	}
	given := parts{given: present(m.GetGivenName()), family: present(m.GetFamilyName())}
	if m.GetNameOrder() != usersv1.NameOrder_NAME_ORDER_UNSPECIFIED {
		given.order = m.GetNameOrder().Enum()
	}
	switch name := present(m.GetName()); {
	case c.parts(name, given):
		p.Parts = c.name(given)
	case name == nil && c.atFault(fieldGiven, fieldFamily, fieldOrder): // the name was meant to be in these
	default:
		p.Name = c.text(fieldName, m.GetName(), trimmed(checkName))
	}
	return p, c.problem()
}

// readUpdate returns what a PATCH asks for, or the problem that names all its faults. A field that is absent or null is
// left alone; an empty one is a value, of which the store makes none where a user may have none.
func readUpdate(body []byte) (store.Change, error) {
	var m usersv1.UpdateUserRequest
	faults, err := parse(body, &m)
	if err != nil {
		return store.Change{}, err
	}
	c := fieldChecks{faults: faults}
	change := store.Change{
		Email:       c.optional("email", m.Email, asIs(checkEmail)),
		DisplayName: c.optional("displayName", m.DisplayName, trimmed(checkLine)),
		Locale:      c.optional("locale", m.Locale, readLocale),
		Phone:       c.optional("phone", m.Phone, readPhone),
	}
	given := parts{m.GivenName, m.FamilyName, m.NameOrder}
	if c.parts(m.Name, given) {
		name := c.name(given)
		change.Parts = &name
	} else {
		change.Name = c.optional(fieldName, m.Name, trimmed(checkName))
	}
	return change, c.problem()
}

// present is a text that a POST has, nil where it has none.
func present(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// rule makes what is stored of what was sent, or says what is wrong with that.
type rule = func(string) (stored, detail string)

// asIs is the rule of a text that is stored as it was sent.
func asIs(check func(string) string) rule {
	return func(s string) (string, string) { return s, check(s) }
}

// trimmed is the rule of a text from which white space around it is removed.
func trimmed(check func(string) string) rule {
	return func(s string) (string, string) {
		s = strings.TrimSpace(s)
		return s, check(s)
	}
}

// fieldChecks goes through the fields of a body, and gathers what is wrong with them.
type fieldChecks struct{ faults []fault }

// problem is the answer to a body with faults, nil to one without.
func (c *fieldChecks) problem() error {
	if len(c.faults) == 0 {
		return nil
	}
	return badFields(c.faults)
}

// atFault reports whether something is wrong with one of these fields.
func (c *fieldChecks) atFault(fields ...string) bool {
	return slices.ContainsFunc(c.faults, func(f fault) bool { return slices.Contains(fields, f.Field) })
}

// blame notes what is wrong with a field that nothing has been found wrong with before.
func (c *fieldChecks) blame(field, detail string) {
	if detail != "" && !c.atFault(field) {
		c.faults = append(c.faults, fault{field, detail})
	}
}

// text returns what is stored of a field.
func (c *fieldChecks) text(field, sent string, r rule) string {
	stored, detail := r(sent)
	c.blame(field, detail)
	return stored
}

// optional is text for a field that may not be there.
func (c *fieldChecks) optional(field string, sent *string, r rule) *string {
	if sent == nil {
		return nil
	}
	return proto.String(c.text(field, *sent, r))
}

// parts are those of a name as they were sent, nil where they were not.
type parts struct {
	given, family *string
	order         *usersv1.NameOrder
}

// parts reports whether the name was sent in parts. It blames a name that was sent in both forms, and an order without
// anything to order.
func (c *fieldChecks) parts(name *string, p parts) bool {
	there := p.given != nil || p.family != nil
	if there && name != nil {
		c.blame(fieldName, "is given in one string and in parts; leave one of the two out")
	}
	if !there && p.order != nil {
		c.blame(fieldOrder, "is given without "+fieldGiven+" and "+fieldFamily)
	}
	return there
}

// name returns a name that was sent in parts, each without white space around it; those that were not sent are empty.
// The bounds of a name hold for what the parts make up together.
func (c *fieldChecks) name(p parts) store.Parts {
	part := func(field string, sent *string) string {
		if sent == nil {
			return ""
		}
		return c.text(field, *sent, trimmed(checkLine))
	}
	name := store.Parts{Given: part(fieldGiven, p.given), Family: part(fieldFamily, p.family)}
	if p.order != nil {
		name.Order = *p.order
	}
	if e := name.Order.Descriptor(); e.Values().ByNumber(name.Order.Number()) == nil {
		c.blame(fieldOrder, noneOf(e))
	}
	first := fieldGiven
	if p.given == nil {
		first = fieldFamily
	}
	switch n := utf8.RuneCountInString(name.Join()); {
	case c.atFault(fieldName, fieldGiven, fieldFamily): // which is enough
	case n == 0:
		c.blame(first, required)
	case n > maxName:
		c.blame(first, fmt.Sprintf("makes up a name of %d characters; a name has at most %d", n, maxName))
	}
	return name
}
