// Package rpcerr makes the errors that gRPC methods answer with: a code, a message for people, and details that a
// client can decide by.
package rpcerr

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// Domain is the domain of every ErrorInfo.
	Domain = "tidings"
	// ReasonVersionNotApplied is the reason of the ErrorInfo that [VersionNotApplied] answers with.
	ReasonVersionNotApplied = "VERSION_NOT_APPLIED"
)

// Error is a status to answer with, and what only the log should tell. It is a gRPC error by its GRPCStatus method.
type Error struct {
	status *status.Status
	cause  error
}

// Error gives code and message, and the cause.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.status.String()
	}
	return fmt.Sprintf("%s: %v", e.status.String(), e.cause)
}

// GRPCStatus returns what the caller gets to see, which is not the cause.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// Unwrap returns the cause, nil where there is none.
func (e *Error) Unwrap() error { return e.cause }

// newError attaches details, which never fails for the codes in use here: only OK can't have any.
func newError(code codes.Code, cause error, message string, details ...protoadapt.MessageV1) *Error {
	st := status.New(code, message)
	if detailed, err := st.WithDetails(details...); err == nil {
		st = detailed
	}
	return &Error{status: st, cause: cause}
}

// Violation is what is wrong with one field of a request.
type Violation struct {
	Field       string // its path: "page_token", "user.email"
	Description string // what it is and should be, without the field's name: `"x" is not an address`
}

// Field makes a violation.
func Field(field, format string, args ...any) Violation {
	return Violation{Field: field, Description: fmt.Sprintf(format, args...)}
}

// InvalidArgument returns INVALID_ARGUMENT with a BadRequest that holds every violation, or nil when there is none.
func InvalidArgument(violations ...Violation) error {
	if len(violations) == 0 {
		return nil
	}
	bad := &errdetails.BadRequest{}
	for _, v := range violations {
		bad.FieldViolations = append(bad.FieldViolations,
			&errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description})
	}
	message := fmt.Sprintf("%s: %s", violations[0].Field, violations[0].Description)
	if more := len(violations) - 1; more > 0 {
		message += fmt.Sprintf(" (and %d more)", more)
	}
	return newError(codes.InvalidArgument, nil, message, bad)
}

// NotFound returns NOT_FOUND with a ResourceInfo: resourceType is the full name of the message that was asked for
// ("directory.v1.Person"), name its id.
func NotFound(resourceType, name string) error {
	return newError(codes.NotFound, nil, fmt.Sprintf("there is no %s %q", resourceType, name),
		&errdetails.ResourceInfo{ResourceType: resourceType, ResourceName: name})
}

// State is why a version was not applied.
type State string

// The states.
const (
	Behind  State = "behind"  // it has not come here yet: ask again
	Parked  State = "parked"  // it has come, and could not be applied: a person has to look
	Deleted State = "deleted" // the key was deleted at the version that is here: none will follow
)

// NotApplied says how far a database has come with a key.
type NotApplied struct {
	Source string // who numbers the versions: "/users"
	Have   uint64 // the last version applied, 0 for none
	Want   uint64
	State  State
}

// VersionNotApplied returns ABORTED with ErrorInfo VERSION_NOT_APPLIED {have, want, source, state}.
func VersionNotApplied(n NotApplied) error {
	return newError(codes.Aborted, nil,
		fmt.Sprintf("version %d of %s is not applied here: have %d, %s", n.Want, n.Source, n.Have, n.State),
		&errdetails.ErrorInfo{Reason: ReasonVersionNotApplied, Domain: Domain, Metadata: map[string]string{
			"have":   strconv.FormatUint(n.Have, 10),
			"want":   strconv.FormatUint(n.Want, 10),
			"source": n.Source,
			"state":  string(n.State),
		}})
}

// Unavailable returns UNAVAILABLE with a RetryInfo: ask again after retry. The cause is for the log.
func Unavailable(retry time.Duration, cause error) error {
	return newError(codes.Unavailable, cause, "this service can't read its database just now; try again",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
}

// Internal returns INTERNAL for a fault of ours. The cause is for the log: it may tell of things that are nobody
// else's business.
func Internal(cause error) error {
	return newError(codes.Internal, cause, "internal error; this service's log says more")
}
