package store

import (
	"cmp"
	"slices"
	"strings"

	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

// change is what becomes of one person, and what is there of them.
type change struct {
	told       []*Person // in the order of telling; of one id
	is         Person    // what is stored, and after fold what is to be stored
	no         int64     // 0: not known so far
	wasDeleted bool
	old, terms []string
}

// changesOf gathers what is told of each person, in the order of ids, in which the database is fastest.
func changesOf(people []Person) []change {
	told := make([]*Person, len(people))
	clean := slices.Clone(people)
	for i := range clean {
		clean[i].clean()
		told[i] = &clean[i]
	}
	slices.SortStableFunc(told, func(x, y *Person) int { return strings.Compare(x.ID, y.ID) })
	changes := make([]change, 0, len(told))
	for from, to := 0, 0; from < len(told); from = to {
		for to = from + 1; to < len(told) && told[to].ID == told[from].ID; to++ {
		}
		changes = append(changes, change{told: told[from:to]})
	}
	return changes
}

// id is whose change this is.
func (c *change) id() string { return c.told[0].ID }

// fold makes of what is stored what was told, one after the other, as if each had come alone: so it does not matter how
// events are cut into batches. It reports whether any of it was news; what is older than what is there changes nothing.
func (c *change) fold() (news bool) {
	for _, p := range c.told {
		if p.Version >= c.is.Version {
			c.is, news = p.after(&c.is), true
		}
	}
	return news
}

// after returns what somebody is of whom p is told and who was old: what p does not tell of stays. Nothing that says who
// a deleted one was is kept, whatever the event said, and so nothing of it stays if they should ever come back.
func (p *Person) after(old *Person) Person {
	if p.Deleted {
		return Person{ID: p.ID, Version: p.Version, Deleted: true}
	}
	is := *p
	is.DisplayName = cmp.Or(p.DisplayName, old.DisplayName)
	is.Locale = cmp.Or(p.Locale, old.Locale)
	is.Phone = cmp.Or(p.Phone, old.Phone)
	is.Parts, is.PartsGuessed = cmp.Or(p.Parts, old.Parts), false
	if p.PartsGuessed && old.Parts != nil && old.Parts.join() == p.Name {
		is.Parts = old.Parts
	}
	return is
}

// join returns the name that the parts make up.
func (p *Parts) join() string {
	return userevents.Join(p.Given, p.Family, eventsv2.NameOrder(p.Order))
}

// clean makes the texts of p such as every database can hold.
func (p *Person) clean() {
	p.ID, p.Email, p.Name = database.Text(p.ID), database.Text(p.Email), database.Text(p.Name)
	for _, s := range [...]**string{&p.DisplayName, &p.Locale, &p.Phone} {
		if *s != nil {
			*s = new(database.Text(**s))
		}
	}
	if p.Parts != nil {
		p.Parts = &Parts{database.Text(p.Parts.Given), database.Text(p.Parts.Family), p.Parts.Order}
	}
}

// columns appends what people have in their rows since 0.2.0: NULL for what nobody has told.
func (p *Person) columns(args []any) []any {
	for _, s := range [...]*string{p.DisplayName, p.Locale, p.Phone} {
		if s == nil {
			args = append(args, nil)
			continue
		}
		args = append(args, *s)
	}
	if p.Parts == nil {
		return append(args, nil, nil, nil)
	}
	return append(args, p.Parts.Given, p.Parts.Family, int64(p.Parts.Order))
}
