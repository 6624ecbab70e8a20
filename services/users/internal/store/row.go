package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
)

// The statements. Parameters stand in the order of their numbers, as SQLite counts them. Their texts never change, so
// the transaction's connection prepares each once.
const (
	columns = `id, email, name, display_name, locale, phone, given_name, family_name, name_order,
		version, create_time, update_time, delete_time`
	selectUser = `SELECT ` + columns + ` FROM users WHERE id = $1`
	insertUser = `INSERT INTO users (email, email_fold, name, display_name, locale, phone, given_name, family_name, name_order,
		version, create_time, update_time, id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING`
	updateUser = `UPDATE users SET email = $1, email_fold = $2, name = $3, display_name = $4, locale = $5, phone = $6,
		given_name = $7, family_name = $8, name_order = $9, version = $10, update_time = $11 WHERE id = $12`
	// deleteUser leaves nothing that says who it was, to which a CHECK of the table holds it.
	deleteUser = `UPDATE users SET email = NULL, email_fold = NULL, name = NULL, display_name = '', locale = '', phone = '',
		given_name = NULL, family_name = NULL, name_order = NULL, version = $1, update_time = $2, delete_time = $3 WHERE id = $4`
	selectHolder = `SELECT id FROM users WHERE email_fold = $1`
)

// values are those of a user's profile, as the statements above take them first: the parts of a name that was given in
// one string are none. fold is that of the address.
func values(p Profile, fold string) []any {
	given, family, order := any(nil), any(nil), any(nil)
	if p.Parts.given() {
		given, family, order = p.Parts.Given, p.Parts.Family, int64(p.Parts.Order)
	}
	return []any{p.Email, fold, p.Name, p.DisplayName, p.Locale, p.Phone, given, family, order}
}

// scanUser reads a row of columns, a tombstone's too. Where there is none, its error wraps ErrNotFound.
func scanUser(row interface{ Scan(...any) error }) (User, error) {
	var u User
	var email, name, given, family sql.NullString
	var order sql.NullInt32
	var createTime, updateTime int64
	var deleteTime sql.NullInt64
	err := row.Scan(&u.ID, &email, &name, &u.DisplayName, &u.Locale, &u.Phone, &given, &family, &order,
		&u.Version, &createTime, &updateTime, &deleteTime)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, fmt.Errorf("store: %w", ErrNotFound)
	} else if err != nil {
		return User{}, fmt.Errorf("store: read a user: %w", err)
	}
	u.Email, u.Name = email.String, name.String
	u.Parts = partsOf(u.Name, Parts{given.String, family.String, usersv1.NameOrder(order.Int32)})
	u.CreateTime, u.UpdateTime = time.UnixMicro(createTime).UTC(), time.UnixMicro(updateTime).UTC()
	if deleteTime.Valid {
		u.DeleteTime = time.UnixMicro(deleteTime.Int64).UTC()
	}
	return u, nil
}

// partsOf returns the parts of a name as a row has them, none where they are not this name's: a replica of an older
// release, which knows the name alone, has changed that since.
func partsOf(name string, p Parts) Parts {
	if p.Join() != name {
		return Parts{}
	}
	return p
}
