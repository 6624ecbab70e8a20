package service_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus/bustest"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

const nobody = "01890000-0000-7000-8000-000000000000"

// wantCode checks an error's code, and returns its ErrorInfo's metadata, nil where it has none.
func wantCode(t *testing.T, what string, err error, want codes.Code) map[string]string {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s is answered %v, want %v", what, err, want)
	}
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == "VERSION_NOT_APPLIED" {
			return info.GetMetadata()
		}
	}
	return nil
}

func TestGetUser(t *testing.T) {
	r := start(t, newConfig(t), servicetest.Over(bustest.NewRecorder()))
	u := r.create("ada@example.org", "Ada")
	for _, id := range []string{u.GetId(), strings.ToUpper(u.GetId())} {
		got, err := r.get(id, 1)
		if err != nil || got.String() != u.String() {
			t.Errorf("%s is %v, %v; want %v", id, got, err, u)
		}
	}
	for _, id := range []string{"", "x", "urn:uuid:" + nobody, strings.ReplaceAll(nobody, "-", ""), strings.Repeat("a", 10_000)} {
		_, err := r.get(id, 0)
		wantCode(t, "id "+id[:min(len(id), 50)], err, codes.InvalidArgument)
	}
	_, err := r.get(nobody, 0)
	wantCode(t, "nobody", err, codes.NotFound)
	r.do("DELETE", path(u), "")
	for v := range uint64(3) {
		_, err = r.get(u.GetId(), v)
		wantCode(t, fmt.Sprintf("a deleted user at version %d", v), err, codes.NotFound)
	}
}

func TestMinVersionSaysHowFarTheUserIs(t *testing.T) {
	r := start(t, newConfig(t), servicetest.Over(bustest.NewRecorder()))
	u, gone := r.create("ada@example.org", "Ada"), r.create("grace@example.org", "Grace")
	r.do("DELETE", path(gone), "")
	for _, test := range []struct {
		id   string
		want uint64
		info map[string]string
	}{
		{u.GetId(), 2, map[string]string{"have": "1", "want": "2", "source": "/users", "state": "behind"}},
		{gone.GetId(), 3, map[string]string{"have": "2", "want": "3", "source": "/users", "state": "deleted"}},
		{nobody, 1, map[string]string{"have": "0", "want": "1", "source": "/users", "state": "behind"}},
	} {
		var err error
		// The answer comes 50 ms before the deadline. A machine that is so busy that it takes longer gets another try.
		servicetest.Await(t, servicetest.Soon, 10*time.Millisecond, "an answer before the deadline", func() (bool, any) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err = r.api.GetUser(ctx, &usersv1.GetUserRequest{Id: test.id, MinVersion: test.want})
			return status.Code(err) != codes.DeadlineExceeded, err
		})
		if info := wantCode(t, "version to come", err, codes.Aborted); fmt.Sprint(info) != fmt.Sprint(test.info) {
			t.Errorf("it says %v, want %v", info, test.info)
		}
	}
}

func TestGetUserWaitsForAVersionThatIsBeingWritten(t *testing.T) {
	r := start(t, newConfig(t), servicetest.Over(bustest.NewRecorder()))
	u := r.create("ada@example.org", "Ada")
	type result struct {
		user *usersv1.User
		err  error
	}
	results := make(chan result, 2)
	for range 2 {
		go func() {
			got, err := r.get(u.GetId(), 3)
			results <- result{got, err}
		}()
	}
	r.do("PATCH", path(u), `{"name":"B"}`)
	r.do("PATCH", path(u), `{"name":"C"}`)
	for range 2 {
		if got := <-results; got.err != nil || got.user.GetVersion() != 3 || got.user.GetName() != "C" {
			t.Errorf("version 3 is %v, %v", got.user, got.err)
		}
	}
}

func TestListUsersPagesThroughAll(t *testing.T) {
	r := start(t, newConfig(t), servicetest.Over(bustest.NewRecorder()))
	var want []string
	for i := range 23 {
		u := r.create(fmt.Sprintf("%d@example.org", i), "A")
		if i%7 == 3 {
			r.do("DELETE", path(u), "")
			continue
		}
		want = append(want, u.GetId())
	}
	for _, size := range []int32{1, 6, 20, 0, 5000} {
		var got []string
		req := &usersv1.ListUsersRequest{PageSize: size}
		for {
			resp, err := r.api.ListUsers(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.GetTotalSize() != int32(len(want)) {
				t.Errorf("total_size is %d, want %d", resp.GetTotalSize(), len(want))
			}
			for _, u := range resp.GetUsers() {
				got = append(got, u.GetId())
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %v, want %v", size, got, want)
		}
	}
}

func TestListUsersRefusesPagesThatItDidNotGive(t *testing.T) {
	r := start(t, newConfig(t), servicetest.Over(bustest.NewRecorder()))
	for _, req := range []*usersv1.ListUsersRequest{{PageSize: -1}, {PageToken: "x"}, {PageSize: -1, PageToken: "e30"}, {PageToken: strings.Repeat("A", 5000)}} {
		_, err := r.api.ListUsers(t.Context(), req)
		wantCode(t, req.String()[:min(len(req.String()), 60)], err, codes.InvalidArgument)
	}
	resp, err := r.api.ListUsers(t.Context(), &usersv1.ListUsersRequest{})
	if err != nil || len(resp.GetUsers()) != 0 || resp.GetNextPageToken() != "" || resp.GetTotalSize() != 0 {
		t.Errorf("nobody is listed as %v, %v", resp, err)
	}
}
