package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/outbox"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

const topic = "user_activity"

// fixture is a store in a database of its own.
type fixture struct {
	*store.Store
	t      testing.TB
	db     *database.DB
	outbox *outbox.Outbox
}

// open makes a store; set may change its Config.
func open(t testing.TB, set func(*store.Config)) *fixture {
	t.Helper()
	return openOn(t, servicetest.DSN(t, "users"), set)
}

// openOn is open on a database that others may have open too.
func openOn(t testing.TB, dsn string, set func(*store.Config)) *fixture {
	t.Helper()
	db := servicetest.OpenDatabase(t, dsn, "users")
	if err := db.Migrate(t.Context(), store.Migrations); err != nil {
		t.Fatal(err)
	}
	ob, err := outbox.New(t.Context(), db.DB)
	if err != nil {
		t.Fatal(err)
	}
	cfg := store.Config{DB: db, Outbox: ob, Topic: topic}
	if set != nil {
		set(&cfg)
	}
	st, err := store.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{st, t, db, ob}
}

// changed makes a change that is to succeed.
func (f *fixture) changed(id string, c store.Change) store.User {
	f.t.Helper()
	u, err := f.Update(f.t.Context(), id, c, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

// published relays everything that is in the outbox, and returns it.
func (f *fixture) published() []bus.Event {
	f.t.Helper()
	status, err := f.outbox.Status(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	rec := bustest.NewRecorder()
	ctx, cancel := context.WithCancel(f.t.Context())
	relayed := make(chan error, 1)
	go func() { relayed <- f.outbox.Relay(ctx, rec) }()
	waiting, done := context.WithTimeout(f.t.Context(), time.Minute)
	defer done()
	events, err := rec.WaitPublished(waiting, topic, int(status.Pending))
	cancel()
	if err := <-relayed; err != nil {
		f.t.Error(err)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return events
}

func (f *fixture) created(email, name string) store.User {
	f.t.Helper()
	u, err := f.Create(f.t.Context(), named(email, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

func (f *fixture) row(id string) store.User {
	f.t.Helper()
	u, err := f.Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

// named is somebody of whom no more is known than that.
func named(email, name string) store.Profile { return store.Profile{Email: email, Name: name} }

// full is somebody of whom all is known that there is room for.
func full(email string) store.Profile {
	return store.Profile{
		Email: email, Parts: store.Parts{Given: "Ilona", Family: "Nagy", Order: usersv1.NameOrder_NAME_ORDER_FAMILY_FIRST},
		DisplayName: "Ili", Locale: "hu-HU", Phone: "+3612345678",
	}
}

// texts is everything in a row that a person has given, in one string.
func (f *fixture) texts(id string) (all string) {
	f.t.Helper()
	if err := f.db.QueryRow(`SELECT coalesce(email, '') || coalesce(email_fold, '') || coalesce(name, '') || display_name || locale || phone ||
		coalesce(given_name, '') || coalesce(family_name, '') || coalesce(CAST(name_order AS TEXT), '') FROM users WHERE id = $1`, id).Scan(&all); err != nil {
		f.t.Fatal(err)
	}
	return all
}

func ptr(s string) *string { return &s }

func at(versions ...uint64) *store.Precondition { return &store.Precondition{Versions: versions} }
