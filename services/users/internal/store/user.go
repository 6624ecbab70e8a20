package store

import (
	"time"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

// User is a row: a user, or the tombstone of one, whose Profile is empty.
type User struct {
	ID string // a UUIDv7 in lower case
	Profile
	Version    uint64
	CreateTime time.Time // UTC, in whole microseconds, like the other times
	UpdateTime time.Time
	DeleteTime time.Time // zero unless deleted
}

// Profile is what a client can write of a user. All but Email and Name may be empty.
type Profile struct {
	Email       string // as the user wrote it
	Name        string // in full; where Parts are given, what [Parts.Join] makes of them
	Parts       Parts  // the zero Parts where the user gave the name in one string
	DisplayName string
	Locale      string // a BCP 47 tag in its canonical form
	Phone       string // E.164
}

// Parts is a name in parts.
type Parts struct {
	Given, Family string
	Order         usersv1.NameOrder
}

// Join returns the name in one string, as it is stored beside its parts.
func (p Parts) Join() string { return userevents.Join(p.Given, p.Family, eventsv2.NameOrder(p.Order)) }

// given reports whether there is a name in these parts.
func (p Parts) given() bool { return p.Given != "" || p.Family != "" }

// NameParts returns the name in parts: as the user gave them, else the name split at its last space.
func (p Profile) NameParts() Parts {
	if p.Parts.given() {
		return p.Parts
	}
	given, family := userevents.Split(p.Name)
	return Parts{Given: given, Family: family}
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
	name := u.NameParts()
	return &usersv1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Version: u.Version,
		CreateTime: timestamppb.New(u.CreateTime), UpdateTime: timestamppb.New(u.UpdateTime),
		DisplayName: u.DisplayName, Locale: u.Locale, Phone: u.Phone,
		GivenName: name.Given, FamilyName: name.Family, NameOrder: name.Order,
	}
}

// Fold returns what two addresses have in common that differ only in case (Unicode's case folding) or in how their
// accents are put together (é as one letter, or as e and an accent). This is the one place that says which addresses
// are the same; a change here needs a migration of the column email_fold.
func Fold(email string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(email)))
}
