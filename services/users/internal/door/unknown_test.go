package door

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// TestThisHoldsOnPostgresToo says whether it was shown.
func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// forgetful is a store that stores, and can't say so once.
type forgetful struct {
	Users
	stores bool // or only says that it may have
	told   bool
}

func (f *forgetful) lose(id string, err error) error {
	if f.told || err != nil {
		return err
	}
	f.told = true
	return &store.UnknownError{ID: id, Err: errors.New("conn closed")}
}

func (f *forgetful) Create(ctx context.Context, p store.Profile) (store.User, error) {
	if !f.stores && !f.told {
		return store.User{}, f.lose(absent, nil)
	}
	u, err := f.Users.Create(ctx, p)
	return u, f.lose(u.ID, err)
}

func (f *forgetful) Update(ctx context.Context, id string, c store.Change, when *store.Precondition) (store.User, error) {
	u, err := f.Users.Update(ctx, id, c, when)
	return u, f.lose(id, err)
}

func (f *forgetful) Delete(ctx context.Context, id string, when *store.Precondition) (uint64, error) {
	version, err := f.Users.Delete(ctx, id, when)
	return version, f.lose(id, err)
}

// absent is the id of nobody.
const absent = "01890000-0000-7000-8000-00000000abcd"

// unknown wants the answer to a write that may have been stored, and returns its Location.
func (a answer) unknown() string {
	a.t.Helper()
	a.wants(http.StatusServiceUnavailable)
	if a.problem().Outcome != "unknown" || a.header.Get("Retry-After") == "" {
		a.t.Errorf("it is answered %s, Retry-After %q", a.body, a.header.Get("Retry-After"))
	}
	return a.header.Get("Location")
}

func TestWhoSendsAWriteOfUnknownOutcomeAgainLearnsWhatBecameOfIt(t *testing.T) {
	users := &forgetful{Users: openStore(t), stores: true}
	c := serve(t, users, nil)
	path := c.do("POST", "/v1/users", good).unknown()
	if got := c.do("POST", "/v1/users", good).wants(http.StatusConflict).header.Get("Location"); got != path || path == "" {
		t.Errorf("the user was to be at %q, and the address is held at %q", path, got)
	}
	users.told = false
	if got := c.do("PATCH", path, `{"name":"B"}`, "If-Match", `"1"`).unknown(); got != path {
		t.Errorf("the Location of a change is %q", got)
	}
	c.do("PATCH", path, `{"name":"B"}`, "If-Match", `"1"`).wants(http.StatusPreconditionFailed).wantsETag(`"2"`)
	c.do("PATCH", path, `{"name":"B"}`).wants(http.StatusOK).wantsETag(`"2"`) // it changes nothing
	users.told = false
	c.do("DELETE", path, "").unknown()
	c.do("DELETE", path, "").wants(http.StatusNoContent).wantsETag(`"3"`)
}

func TestAPostOfUnknownOutcomeThatWasNotStoredIsStoredWhenItIsSentAgain(t *testing.T) {
	c := serve(t, &forgetful{Users: openStore(t)}, nil)
	c.do("POST", "/v1/users", good).unknown()
	c.do("POST", "/v1/users", good).wants(http.StatusCreated)
}

func TestAWriteThatWasNotStoredSaysNothingOfAnUnknownOutcome(t *testing.T) {
	c := serve(t, altered{openStore(t), func(context.Context) error { return context.Canceled }}, nil)
	if p := c.do("POST", "/v1/users", good).wants(http.StatusServiceUnavailable).problem(); p.Outcome != "" {
		t.Errorf("it is answered %+v", p)
	}
}
