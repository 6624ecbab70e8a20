package door

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// Users is what the door writes to; a *[store.Store] is one. Each method blocks until its change is committed, and
// reports a refusal by the error types of package store. The door calls them with what it has checked: fields that keep
// to its rules, and ids, locales and numbers in their canonical form. They are called from many goroutines at once.
type Users interface {
	Create(ctx context.Context, p store.Profile) (store.User, error)
	Update(ctx context.Context, id string, c store.Change, when *store.Precondition) (store.User, error)
	Delete(ctx context.Context, id string, when *store.Precondition) (version uint64, err error)
}

// Door answers the requests of the write door. It is an [http.Handler], and safe for concurrent use. Make one with
// [New].
type Door struct {
	users    Users
	log      *slog.Logger
	timeouts timeouts

	// inHand is held for reading by every request, so that Serve can wait for all. A WaitGroup would not do: a
	// request may still begin while they are waited for.
	inHand sync.RWMutex
}

// New makes a door in front of users. Requests that fail by no fault of the client's are logged to log, one line each.
func New(users Users, log *slog.Logger) *Door {
	return &Door{users: users, log: log, timeouts: usualTimeouts()}
}

// usersPath is the collection; a user is one segment below it.
const usersPath = "/v1/users"

// location is the path of a user.
func location(id string) string { return usersPath + "/" + id }

// ServeHTTP answers one request. It does not return before the write is committed or refused.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.inHand.RLock()
	defer d.inHand.RUnlock()
	defer d.recover(w, r)
	if err := d.route(w, r); err != nil {
		d.refuse(w, r, err)
	}
}

// route is by hand, for a mux would answer in plain text what it does not know, and redirect what it can tidy up.
func (d *Door) route(w http.ResponseWriter, r *http.Request) error {
	if err := checkHeader(r); err != nil {
		return err
	}
	path := r.URL.Path
	if path == usersPath {
		if r.Method != http.MethodPost {
			return notAllowed(r, http.MethodPost)
		}
		return d.create(w, r)
	}
	id, ok := strings.CutPrefix(path, usersPath+"/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return newProblem(http.StatusNotFound, "there is no %s here; there is %s and %s/{id}", quote(path), usersPath, usersPath)
	}
	switch r.Method {
	case http.MethodPatch:
		return d.update(w, r, id)
	case http.MethodDelete:
		return d.delete(w, r, id)
	}
	return notAllowed(r, http.MethodPatch, http.MethodDelete)
}

// notAllowed answers a method that the path doesn't take. Location leads to paths that take no GET, so whoever tries
// one is told where users are read.
func notAllowed(r *http.Request, allowed ...string) error {
	list := strings.Join(allowed, ", ")
	p := newProblem(http.StatusMethodNotAllowed, "%s is not taken here; there is %s", quote(r.Method), list)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		p.Detail += ". Users are read over gRPC: users.v1.UserService"
	}
	return p.with("Allow", list)
}

// create answers POST /v1/users. If-Match has no meaning there: the user is not there yet.
func (d *Door) create(w http.ResponseWriter, r *http.Request) error {
	body, err := d.readBody(w, r)
	if err != nil {
		return err
	}
	profile, err := readCreate(body)
	if err != nil {
		return err
	}
	u, err := d.users.Create(r.Context(), profile)
	if err != nil {
		return err
	}
	w.Header()["Location"] = []string{location(u.ID)}
	return sendUser(w, http.StatusCreated, u)
}

// update answers PATCH /v1/users/{id}. What is wrong with the request itself is told first, whoever it is about.
func (d *Door) update(w http.ResponseWriter, r *http.Request, id string) error {
	when, err := readPrecondition(r.Header)
	if err != nil {
		return err
	}
	body, err := d.readBody(w, r)
	if err != nil {
		return err
	}
	change, err := readUpdate(body)
	if err != nil {
		return err
	}
	if id, err = userID(id); err != nil {
		return err
	}
	u, err := d.users.Update(r.Context(), id, change, when)
	if err != nil {
		return err
	}
	return sendUser(w, http.StatusOK, u)
}

// delete answers DELETE /v1/users/{id}. A body is not asked for, and not read.
func (d *Door) delete(w http.ResponseWriter, r *http.Request, id string) error {
	when, err := readPrecondition(r.Header)
	if err != nil {
		return err
	}
	if id, err = userID(id); err != nil {
		return err
	}
	version, err := d.users.Delete(r.Context(), id, when)
	if err != nil {
		return err
	}
	w.Header()["Etag"] = []string{etag(version)}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// userID returns an id as the store has it. What is no UUID names no user.
func userID(segment string) (string, error) {
	id, ok := store.ParseID(segment)
	if !ok {
		return "", newProblem(http.StatusNotFound, "there is no user %s: an id is a UUID", quote(segment))
	}
	return id, nil
}

// sendUser answers with a user as it is at its version. Names of headers are written as net/http keeps them, which
// saves their being put into that form each time.
func sendUser(w http.ResponseWriter, status int, u store.User) error {
	body, err := protojson.Marshal(u.Proto())
	if err != nil {
		return fmt.Errorf("door: answer: %w", err)
	}
	h := w.Header()
	h["Etag"] = []string{etag(u.Version)}
	h["Content-Type"] = []string{mediaType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone can't be told
	return nil
}

// refuse answers err, and logs what the client can't mend.
func (d *Door) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		d.log.ErrorContext(r.Context(), "a write failed", "method", r.Method, "path", shorten(r.URL.Path), "status", p.Status, "err", err)
	}
	p.send(w)
}

// recover answers 500 where a handler panicked, as far as nothing has been answered yet.
func (d *Door) recover(w http.ResponseWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	d.log.ErrorContext(r.Context(), "a write panicked", "method", r.Method, "path", shorten(r.URL.Path), "panic", cause, "stack", string(debug.Stack()))
	problemOf(fmt.Errorf("panic: %v", cause)).send(w)
}
