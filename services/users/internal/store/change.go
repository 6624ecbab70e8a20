package store

// Change is what an update asks for: the fields that are not nil. What they may hold, the caller has checked; of Name and
// Parts, which are one value in two forms, it gives one at most.
type Change struct {
	Email *string
	// Name is the name in one string. One that is what the user is called already changes nothing, the parts included:
	// who knows of the name alone, and sends it back with something else, says nothing of them. Any other takes the
	// place of the parts too.
	Name *string
	// Parts is the name in parts, which makes up Name too. Such as the name has by itself already change nothing.
	Parts *Parts

	DisplayName, Locale, Phone *string
}

// The names of fields, as the masks of events have them.
const (
	fieldEmail       = "email"
	fieldName        = "name"
	fieldDisplayName = "display_name"
	fieldLocale      = "locale"
	fieldPhone       = "phone"
)

// apply returns u with the change made. An address that differs in case only is another value: the user wants it written
// so.
func (c Change) apply(u User) User {
	set := func(field, value *string) {
		if value != nil {
			*field = *value
		}
	}
	set(&u.Email, c.Email)
	set(&u.DisplayName, c.DisplayName)
	set(&u.Locale, c.Locale)
	set(&u.Phone, c.Phone)
	switch {
	case c.Parts != nil && *c.Parts != u.NameParts():
		u.Name, u.Parts = c.Parts.Join(), *c.Parts
	case c.Name != nil && *c.Name != u.Name:
		u.Name, u.Parts = *c.Name, Parts{}
	}
	return u
}

// differences returns the names of the fields that have another value in q than in p, as users.events.v1 sees them, and
// as users.events.v2 does, where a name is its parts. So what differs for v1 does for v2; and where nothing does for v2,
// nobody can see a difference at all.
func differences(p, q Profile) (v1, v2 []string) {
	both := func(field string, differ bool) {
		if differ {
			v1, v2 = append(v1, field), append(v2, field)
		}
	}
	both(fieldEmail, p.Email != q.Email)
	if p.Name != q.Name {
		v1 = append(v1, fieldName)
	}
	if p.NameParts() != q.NameParts() {
		v2 = append(v2, fieldName)
	}
	both(fieldDisplayName, p.DisplayName != q.DisplayName)
	both(fieldLocale, p.Locale != q.Locale)
	both(fieldPhone, p.Phone != q.Phone)
	return v1, v2
}

// Precondition says at which versions a user may be changed. A nil one allows all.
type Precondition struct {
	Any      bool     // at any version, as long as there is one
	Versions []uint64 // at one of these
}

// allows reports whether a user at version may be changed.
func (p *Precondition) allows(version uint64) bool {
	if p == nil || p.Any {
		return true
	}
	for _, v := range p.Versions {
		if v == version {
			return true
		}
	}
	return false
}
