package rpcerr_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidings-dev/tidings/services/internal/rpcerr"
)

func TestErrorsCarryCodeAndDetails(t *testing.T) {
	cause := errors.New("disk I/O error")
	tests := []struct {
		name    string
		err     error
		code    codes.Code
		message string
		detail  proto.Message
	}{
		{
			"one field", rpcerr.InvalidArgument(rpcerr.Field("email", "%q is not an address", "x")),
			codes.InvalidArgument, `email: "x" is not an address`,
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "email", Description: `"x" is not an address`},
			}},
		},
		{
			"many fields", rpcerr.InvalidArgument(rpcerr.Field("a", "empty"), rpcerr.Field("b", "long"), rpcerr.Field("c", "odd")),
			codes.InvalidArgument, "a: empty (and 2 more)",
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "a", Description: "empty"}, {Field: "b", Description: "long"}, {Field: "c", Description: "odd"},
			}},
		},
		{
			"not found", rpcerr.NotFound("directory.v1.Person", "018f"), codes.NotFound,
			`there is no directory.v1.Person "018f"`,
			&errdetails.ResourceInfo{ResourceType: "directory.v1.Person", ResourceName: "018f"},
		},
		{
			"version not applied",
			rpcerr.VersionNotApplied(rpcerr.NotApplied{Source: "/users", Have: 2, Want: 3, State: rpcerr.Behind}),
			codes.Aborted, "version 3 of /users is not applied here: have 2, behind",
			&errdetails.ErrorInfo{Reason: "VERSION_NOT_APPLIED", Domain: "tidings", Metadata: map[string]string{
				"have": "2", "want": "3", "source": "/users", "state": "behind",
			}},
		},
		{
			"unavailable", rpcerr.Unavailable(1500*time.Millisecond, cause), codes.Unavailable,
			"this service can't read its database just now; try again",
			&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
		},
		{"internal", rpcerr.Internal(cause), codes.Internal, "internal error; this service's log says more", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, ok := status.FromError(tt.err)
			if !ok || st.Code() != tt.code || st.Message() != tt.message {
				t.Fatalf("status %v %q (a status: %v), want %v %q", st.Code(), st.Message(), ok, tt.code, tt.message)
			}
			var got []any
			if got = st.Details(); tt.detail == nil && len(got) == 0 {
				return
			}
			if diff := cmp.Diff([]any{tt.detail}, got, protocmp.Transform()); diff != "" {
				t.Errorf("details (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInvalidArgumentWithoutViolationsIsNoError(t *testing.T) {
	if err := rpcerr.InvalidArgument(); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestTheCauseIsForTheLogOnly(t *testing.T) {
	cause := errors.New("dial 10.0.0.7: secret")
	for _, err := range []error{rpcerr.Internal(cause), rpcerr.Unavailable(time.Second, cause)} {
		st, _ := status.FromError(err)
		if strings.Contains(st.String(), "secret") {
			t.Errorf("the caller is told of %q", st)
		}
		if !errors.Is(err, cause) || !strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("the log is not told of the cause: %v", err)
		}
	}
}
