package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/moogar0880/problems"

	"github.com/tidings-dev/tidings/bus/outbox"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// retryAfter is what Retry-After says, in seconds.
const retryAfter = "1"

// problem is an error that a request is answered with, as application/problem+json.
type problem struct {
	problems.Problem
	Errors []fault `json:"errors,omitempty"`
	// Outcome is "unknown" where the write may have been stored; else it was not, and there is none.
	Outcome string `json:"outcome,omitempty"`

	header map[string]string
	cause  error // for the log; the client doesn't hear of it
}

// fault is what is wrong with one field.
type fault struct {
	Field  string `json:"field"`
	Detail string `json:"detail"` // without the field's name: `"x" is not an address`
}

// newProblem makes a problem of a status, titled as HTTP names it, with a sentence for people.
func newProblem(status int, format string, args ...any) *problem {
	return &problem{Problem: *problems.NewDetailedProblem(status, fmt.Sprintf(format, args...))}
}

// badFields is the answer to a body whose fields can't be taken. Its detail tells the first fault, for those who print
// no more than that; the list is bounded, as the body was.
func badFields(faults []fault) *problem {
	p := newProblem(http.StatusBadRequest, "%s: %s", faults[0].Field, faults[0].Detail)
	if more := len(faults) - 1; more > 0 {
		p.Detail += fmt.Sprintf(" (and %d more)", more)
	}
	p.Errors = faults[:min(len(faults), maxFaults)]
	return p
}

// with adds a header to the answer.
func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = make(map[string]string)
	}
	p.header[name] = value
	return p
}

// because keeps the error behind p, for the log.
func (p *problem) because(err error) *problem {
	p.cause = err
	return p
}

// Unwrap returns what only the log should tell, nil where there is nothing.
func (p *problem) Unwrap() error { return p.cause }

// send answers with p.
func (p *problem) send(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers can always be written
		panic(fmt.Errorf("door: problem: %w", err))
	}
	h := w.Header()
	for name, value := range p.header {
		h.Set(name, value)
	}
	h.Set("Content-Type", problems.ProblemMediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that is gone can't be told
}

// unknownOutcome answers a write that may have been stored. Location is where the user is, and where it would be if it was
// created: by that, who sends the POST again knows its own user from another's in the 409.
func unknownOutcome(err *store.UnknownError) *problem {
	p := newProblem(http.StatusServiceUnavailable, "the connection to the database broke while it committed: whether this was stored "+
		"is not known. Send it again: a POST that was stored answers 409 with this Location, a PATCH with If-Match 412, a DELETE 204")
	p.Outcome = "unknown"
	return p.with("Retry-After", retryAfter).with("Location", location(err.ID)).because(err)
}

// problemOf says what a request whose handling failed with err is answered. An error that nobody has thought of is a
// fault of ours, and its text may tell what is no client's business.
func problemOf(err error) *problem {
	var p *problem
	var inUse *store.InUseError
	var precondition *store.PreconditionError
	var unknown *store.UnknownError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &unknown):
		return unknownOutcome(unknown)
	case errors.As(err, &inUse):
		p = badFields([]fault{{"email", "is in use by the user that Location names"}})
		p.Problem.WithTitle(http.StatusText(http.StatusConflict)).WithStatus(http.StatusConflict)
		return p.with("Location", location(inUse.ID))
	case errors.As(err, &precondition):
		tag := etag(precondition.Version)
		return newProblem(http.StatusPreconditionFailed, "the user is at version %s: read it again before you change it", tag).with("ETag", tag)
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, "there is no user with this id, or it was deleted")
	case errors.Is(err, outbox.ErrNotCommitted), database.IsUnavailable(err), errors.Is(err, context.Canceled):
		return newProblem(http.StatusServiceUnavailable, "the database can't commit just now: try again").
			with("Retry-After", retryAfter).because(err)
	default:
		return newProblem(http.StatusInternalServerError, "this is a fault of the service, which its log tells").because(err)
	}
}
