package store

import (
	"time"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"google.golang.org/protobuf/types/known/timestamppb"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
)

// User is a row: a user, or the tombstone of one, which has neither Email nor Name.
type User struct {
	ID         string // a UUIDv7 in lower case
	Email      string // as the user wrote it
	Name       string
	Version    uint64
	CreateTime time.Time // UTC, in whole microseconds, like the other times
	UpdateTime time.Time
	DeleteTime time.Time // zero unless deleted
}

// textLength is the length of a UUID in its text form; uuid.Parse takes other forms too.
const textLength = 36

// ParseID returns the id that s, a UUID in its text form, stands for; ok is false where s is something else. Letters
// of either case are taken, as RFC 9562 asks for.
func ParseID(s string) (id string, ok bool) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != textLength {
		return "", false
	}
	return u.String(), true
}

// Deleted reports whether u is a tombstone.
func (u User) Deleted() bool { return !u.DeleteTime.IsZero() }

// Proto returns u as the API has it. A tombstone has no place there.
func (u User) Proto() *usersv1.User {
	return &usersv1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Version: u.Version,
		CreateTime: timestamppb.New(u.CreateTime), UpdateTime: timestamppb.New(u.UpdateTime),
	}
}

// Fold returns what two addresses have in common that differ only in case (Unicode's case folding) or in how their
// accents are put together (é as one letter, or as e and an accent). This is the one place that says which addresses
// are the same; a change here needs a migration of the column email_fold.
func Fold(email string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(email)))
}

// Change is what an update asks for: the fields that are not nil. What they may hold, the caller has checked.
type Change struct{ Email, Name *string }

// apply returns u with the change made, and the names of the fields that have another value now. An address that differs
// in case only is another value: the user wants it written so.
func (c Change) apply(u User) (changed User, mask []string) {
	if c.Email != nil && *c.Email != u.Email {
		u.Email = *c.Email
		mask = append(mask, "email")
	}
	if c.Name != nil && *c.Name != u.Name {
		u.Name = *c.Name
		mask = append(mask, "name")
	}
	return u, mask
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
