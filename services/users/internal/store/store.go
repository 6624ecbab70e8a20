package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/outbox"
	"github.com/tidings-dev/tidings/services/internal/database"
)

// Migrations makes the tables: goose's files, under migrations/<dialect>.
//
//go:embed migrations
var Migrations embed.FS

// Config says what a Store works with. DB, Outbox and Topic must be set.
type Config struct {
	DB     *database.DB   // migrated by [Migrations]
	Outbox *outbox.Outbox // of DB
	Topic  string         // of the events
	// Events are the versions that a change is told in, best first; none is V1 alone. Where there are several, each
	// change has an event of each, which readers tell from one another by its type.
	Events []API
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// NewID makes the ids of users; nil is UUIDs of version 7.
	NewID func() (uuid.UUID, error)
}

// Store keeps users. It is safe for concurrent use, also by replicas that share a Postgres. Its writes block until they
// are committed or refused: a few milliseconds, as long as the database can be written to, and a few seconds where the
// connection breaks at the commit. Their errors wrap outbox.ErrNotCommitted, or are such as database.IsUnavailable knows,
// where the same write was not stored and may succeed later; an [*UnknownError] is one that may have been stored.
type Store struct {
	cfg    Config
	tell   teller
	get    *sql.Stmt
	locked string // selectUser, for who changes the user
}

// New makes a store. It asks the database nothing but whether its statements can be run.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewID == nil {
		cfg.NewID = uuid.NewV7
	}
	tell, err := newTeller(cfg.Events)
	if err != nil {
		return nil, err
	}
	get, err := cfg.DB.PrepareContext(ctx, selectUser)
	if err != nil {
		return nil, fmt.Errorf("store: prepare: %w", err)
	}
	return &Store{cfg: cfg, tell: tell, get: get, locked: selectUser + cfg.DB.Dialect.ForUpdate()}, nil
}

// now is the clock in the unit of the tables, so that events say what rows say.
func (s *Store) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// Create stores a user at version 1, and returns it once that is committed. An address that another user holds is an
// [*InUseError]. The fields are taken as they are: checking them is the caller's part; but where Parts are given, they
// make up Name.
func (s *Store) Create(ctx context.Context, p Profile) (User, error) {
	id, err := s.cfg.NewID()
	if err != nil {
		return User{}, fmt.Errorf("store: new id: %w", err)
	}
	if p.Parts.given() {
		p.Name = p.Parts.Join()
	}
	now := s.now()
	u := User{ID: id.String(), Profile: p, Version: 1, CreateTime: now, UpdateTime: now}
	// Nobody else can know of a new id, so its first version needs no lock, and what can be done before the
	// transaction keeps no other writer waiting.
	events, err := s.tell.created(u)
	if err != nil {
		return User{}, fmt.Errorf("store: create: %w", err)
	}
	err = s.write(ctx, u.ID, func(ctx context.Context, tx outbox.Tx, again bool) error {
		return s.create(ctx, tx, u, events, again)
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// create stores u with its events, unless a try before has stored both.
func (s *Store) create(ctx context.Context, tx outbox.Tx, u User, events []bus.Event, again bool) error {
	fold := Fold(u.Email)
	args := append(values(u.Profile, fold), u.Version, u.CreateTime.UnixMicro(), u.UpdateTime.UnixMicro(), u.ID)
	res, err := tx.ExecContext(ctx, insertUser, args...)
	if err != nil {
		return fmt.Errorf("store: create: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return fmt.Errorf("store: create: %w", err)
	} else if n == 1 {
		return s.cfg.Outbox.Add(ctx, tx, s.cfg.Topic, events...)
	}
	switch _, err := scanUser(tx.QueryRowContext(ctx, selectUser, u.ID)); {
	case err == nil && again: // nobody else could have taken the id, whatever has become of the user since
		return nil
	case err == nil:
		return fmt.Errorf("store: create: there is a user %s already", u.ID)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return refusal(ctx, tx, fold)
}

// Update changes a user, and returns it as it is then, once that is committed; a change that changes nothing returns
// it as it was. Errors: one that wraps [ErrNotFound], a [*PreconditionError], an [*InUseError], in this order.
func (s *Store) Update(ctx context.Context, id string, c Change, when *Precondition) (User, error) {
	var after, tried User // as it is in the end, and as a try that is in doubt was to make it
	err := s.write(ctx, id, func(ctx context.Context, tx outbox.Tx, again bool) error {
		before, err := scanUser(tx.QueryRowContext(ctx, s.locked, id))
		switch {
		case err != nil:
			return err
		case again && before == tried: // it was stored
			after = tried
			return nil
		case again && before.Version > tried.Version: // perhaps it was, and was changed since
			return errPassed
		case before.Deleted():
			return fmt.Errorf("store: user %s was deleted: %w", id, ErrNotFound)
		case !when.allows(before.Version):
			return &PreconditionError{before.Version}
		}
		if after = c.apply(before); after == before {
			tried = after
			return nil
		}
		after.Version, after.UpdateTime = before.Version+1, s.now()
		tried = after
		return s.update(ctx, tx, before, after)
	})
	if errors.Is(err, errPassed) {
		return User{}, &UnknownError{ID: id, Err: err}
	}
	if err != nil {
		return User{}, err
	}
	return after, nil
}

// errPassed is the error of a second try that finds that others went on from where the first one may have been.
var errPassed = errors.New("store: the user has been changed again since")

// update stores after, which is at its new version already, with the events that tell what changed. The caller has read
// the row, before, in this transaction, and nobody else can have changed it since.
func (s *Store) update(ctx context.Context, tx outbox.Tx, before, after User) error {
	fold := Fold(after.Email)
	switch id, err := holder(ctx, tx, fold); {
	case err != nil:
		return err
	case id != "" && id != after.ID:
		return &InUseError{id}
	}
	args := append(values(after.Profile, fold), after.Version, after.UpdateTime.UnixMicro(), after.ID)
	if _, err := tx.ExecContext(ctx, updateUser, args...); err != nil {
		return fmt.Errorf("store: update %s: %w", after.ID, err)
	}
	events, err := s.tell.updated(before, after)
	if err != nil {
		return fmt.Errorf("store: update %s: %w", after.ID, err)
	}
	return s.cfg.Outbox.Add(ctx, tx, s.cfg.Topic, events...)
}

// Delete puts a tombstone in a user's place, and returns its version once that is committed. A user that is deleted
// already stays as it is, and the version of its tombstone is returned: so a delete can be sent again. For that the
// Precondition of the first time serves too, the version that the user had before. Errors: one that wraps
// [ErrNotFound] if there never was such a user, a [*PreconditionError].
func (s *Store) Delete(ctx context.Context, id string, when *Precondition) (version uint64, err error) {
	// A second try finds the tombstone of the first, which is what a delete that is sent again finds too.
	err = s.write(ctx, id, func(ctx context.Context, tx outbox.Tx, _ bool) error {
		u, err := scanUser(tx.QueryRowContext(ctx, s.locked, id))
		if err != nil {
			return err
		}
		version = u.Version
		again := u.Deleted()
		switch {
		case !when.allows(version) && !(again && when.allows(version-1)):
			return &PreconditionError{version}
		case again:
			return nil
		}
		version++
		u.Version, u.DeleteTime = version, s.now()
		return s.delete(ctx, tx, u)
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// delete puts the tombstone u in the place of its row, with the events that tell of it.
func (s *Store) delete(ctx context.Context, tx outbox.Tx, u User) error {
	at := u.DeleteTime.UnixMicro()
	if _, err := tx.ExecContext(ctx, deleteUser, u.Version, at, at, u.ID); err != nil {
		return fmt.Errorf("store: delete %s: %w", u.ID, err)
	}
	events, err := s.tell.deleted(u)
	if err != nil {
		return fmt.Errorf("store: delete %s: %w", u.ID, err)
	}
	return s.cfg.Outbox.Add(ctx, tx, s.cfg.Topic, events...)
}

// refusal says why an insert did not take place: an [*InUseError], as a rule.
func refusal(ctx context.Context, tx outbox.Tx, fold string) error {
	id, err := holder(ctx, tx, fold)
	switch {
	case err != nil:
		return err
	case id == "": // it was just given up; not on SQLite, where nobody else can have written meanwhile
		return errAgain
	}
	return &InUseError{id}
}

// holder returns the id of who holds the address that folds so, "" for nobody.
func holder(ctx context.Context, tx outbox.Tx, fold string) (id string, err error) {
	err = tx.QueryRowContext(ctx, selectHolder, fold).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("store: who holds an address: %w", err)
	}
	return id, nil
}
