package grpcserver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/grpcserver"
	"github.com/tidings-dev/tidings/services/internal/rpcerr"
)

const getPerson = "/directory.v1.DirectoryService/GetPerson"

func TestErrorsAreAnsweredAndLoggedByWhoseFaultTheyAre(t *testing.T) {
	secret := errors.New("no such column: people.emial")
	tests := []struct {
		name    string
		err     error
		code    codes.Code
		logged  slog.Level // below Info is not logged in a healthy service
		inLog   string
		details int
	}{
		{"none", nil, codes.OK, slog.LevelDebug, "", 0},
		{"invalid", rpcerr.InvalidArgument(rpcerr.Field("id", "empty")), codes.InvalidArgument, slog.LevelDebug, "", 1},
		{"wrapped", fmt.Errorf("around: %w", rpcerr.NotFound("directory.v1.Person", "1")), codes.NotFound, slog.LevelDebug, "", 1},
		{"behind", rpcerr.VersionNotApplied(rpcerr.NotApplied{Want: 1, State: rpcerr.Behind}), codes.Aborted, slog.LevelDebug, "", 1},
		{"plain status", status.Error(codes.FailedPrecondition, "no"), codes.FailedPrecondition, slog.LevelDebug, "", 0},
		{"deadline", fmt.Errorf("store: %w", context.DeadlineExceeded), codes.DeadlineExceeded, slog.LevelDebug, "", 0},
		{"canceled", fmt.Errorf("store: %w", context.Canceled), codes.Canceled, slog.LevelDebug, "", 0},
		{"busy", fmt.Errorf("store: %w", errBusy), codes.Unavailable, slog.LevelWarn, "/srv/secret.db", 1},
		{"ours", fmt.Errorf("store: %w", secret), codes.Internal, slog.LevelError, "people.emial", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, grpcserver.Config{}, func(context.Context, string) error { return tt.err })
			st, _ := status.FromError(s.get(t.Context(), "1"))
			if st.Code() != tt.code || len(st.Details()) != tt.details {
				t.Errorf("answered %v with %d details, want %v with %d", st, len(st.Details()), tt.code, tt.details)
			}
			for _, word := range []string{"secret", "emial", "around", "store"} {
				if strings.Contains(st.Message(), word) {
					t.Errorf("the caller is told %q", st.Message())
				}
			}
			s.stop() // after which everything is logged
			if err := s.await(t); err != nil {
				t.Fatal(err)
			}
			lines := s.log.above(slog.LevelInfo)
			if tt.logged < slog.LevelInfo {
				if len(lines) != 0 {
					t.Errorf("logged %v, want nothing", lines)
				}
				return
			}
			if len(lines) != 1 || len(s.log.above(tt.logged)) != 1 {
				t.Fatalf("logged %v, want one line at %v", lines, tt.logged)
			}
			if l := lines[0]; l["method"] != getPerson || l["code"] != tt.code.String() || l["duration"] == "" || !strings.Contains(l["err"], tt.inLog) {
				t.Errorf("logged %v", l)
			}
		})
	}
}

// A caller who gives up while Postgres works is no news of the database.
func TestACallerWhoGivesUpIsNotToldOfTheDatabase(t *testing.T) {
	given := make(chan struct{})
	s := serve(t, grpcserver.Config{}, func(ctx context.Context, _ string) error {
		close(given)
		<-ctx.Done()
		return fmt.Errorf("store: %w", errBusy)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-given; cancel() }()
	if st, _ := status.FromError(s.get(ctx, "1")); st.Code() != codes.Canceled {
		t.Errorf("answered %v", st)
	}
	s.stop()
	if err := s.await(t); err != nil {
		t.Fatal(err)
	}
	if lines := s.log.above(slog.LevelInfo); len(lines) != 0 {
		t.Errorf("logged %v, want nothing", lines)
	}
}

func TestUnavailableSaysWhenToRetry(t *testing.T) {
	s := serve(t, grpcserver.Config{}, func(context.Context, string) error { return errBusy })
	st, _ := status.FromError(s.get(t.Context(), "1"))
	retry, ok := st.Details()[0].(*errdetails.RetryInfo)
	if !ok || retry.GetRetryDelay().AsDuration() != time.Second {
		t.Errorf("details %v", st.Details())
	}
}

func TestAPanicIsAnsweredAndTheServerGoesOn(t *testing.T) {
	s := serve(t, grpcserver.Config{}, func(_ context.Context, id string) error {
		if id == "bad" {
			panic("boom: secret")
		}
		return nil
	})
	err := s.get(t.Context(), "bad")
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("answered %v", err)
	}
	if err := s.get(t.Context(), "good"); err != nil {
		t.Errorf("the next call: %v", err)
	}
	lines := s.log.above(slog.LevelError)
	if len(lines) != 1 || !strings.Contains(lines[0]["err"], "boom: secret") || !strings.Contains(lines[0]["stack"], "interceptor_test.go") {
		t.Errorf("logged %v, want one line with the panic and where it was", lines)
	}
}

func TestLargeRequestsAreRefused(t *testing.T) {
	s := serve(t, grpcserver.Config{}, func(context.Context, string) error { return nil })
	if err := s.get(t.Context(), strings.Repeat("x", 2<<20)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestMethodsThatAreMissingAreTheCallersFault(t *testing.T) {
	s := serve(t, grpcserver.Config{}, nil)
	_, err := s.client.SearchPeople(t.Context(), &directoryv1.SearchPeopleRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	if lines := s.log.above(slog.LevelInfo); len(lines) != 0 {
		t.Errorf("logged %v", lines)
	}
}

// A health watcher that stays is cut off at the end, and is nobody's fault.
func TestStreamsThatStayDontKeepTheServerUp(t *testing.T) {
	s := serve(t, grpcserver.Config{Grace: 50 * time.Millisecond}, nil)
	stream, err := s.health.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	s.stop()
	last := serving
	err = drain(func() error {
		resp, err := stream.Recv()
		if err == nil {
			last = resp.GetStatus()
		}
		return err
	})
	if status.Code(err) != codes.Unavailable || last != notServing {
		t.Errorf("the watcher heard %v and then %v, want NOT_SERVING and UNAVAILABLE", last, err)
	}
	if err := s.await(t); err != nil {
		t.Error(err)
	}
	if lines := s.log.above(slog.LevelInfo); len(lines) != 0 {
		t.Errorf("logged %v", lines)
	}
}
