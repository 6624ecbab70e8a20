package paging_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/paging"
)

// cursor is the kind of cursor that the services have.
type cursor struct {
	Time int64
	ID   string
}

// violations returns the fields at fault, with what is said of them.
func violations(t *testing.T, err error) map[string]string {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.InvalidArgument {
		t.Fatalf("got %v, want INVALID_ARGUMENT", err)
	}
	fields := make(map[string]string)
	for _, d := range st.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				fields[v.GetField()] = v.GetDescription()
			}
		}
	}
	return fields
}

func TestPageSizes(t *testing.T) {
	for given, want := range map[int32]int{
		0: 50, 1: 1, 50: 50, 999: 999, 1000: 1000, 1001: 1000, math.MaxInt32: 1000,
	} {
		p, err := paging.Read[cursor](&usersv1.ListUsersRequest{PageSize: given})
		if err != nil || p.Size != want {
			t.Errorf("page_size %d gives %d, %v; want %d", given, p.Size, err, want)
		}
		if p.After != nil {
			t.Errorf("the first page begins after %v", *p.After)
		}
	}
	for _, given := range []int32{-1, math.MinInt32} {
		_, err := paging.Read[cursor](&usersv1.ListUsersRequest{PageSize: given})
		if v := violations(t, err); v["page_size"] == "" || len(v) != 1 {
			t.Errorf("page_size %d: violations %v", given, v)
		}
	}
}

func TestTokensCarryTheCursorToTheNextPage(t *testing.T) {
	want := cursor{Time: math.MaxInt64, ID: "018f é\x01\"'; DROP TABLE users"}
	first, err := paging.Read[cursor](&directoryv1.SearchPeopleRequest{Query: "ada", PageSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	token, err := first.Next(want)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(token, "+/= &?") {
		t.Errorf("token %q has to be escaped in a URL", token)
	}
	// Another page_size is allowed from page to page.
	second, err := paging.Read[cursor](&directoryv1.SearchPeopleRequest{Query: "ada", PageSize: 20, PageToken: token})
	if err != nil {
		t.Fatal(err)
	}
	if second.After == nil || *second.After != want || second.Size != 20 {
		t.Errorf("read %v, %d; want %v, 20", second.After, second.Size, want)
	}
	if again, err := second.Next(want); err != nil || again != token {
		t.Errorf("the token of the same place differs on another page: %v", err)
	}
}

func TestTokensOfAnotherRequestAreRefused(t *testing.T) {
	p, err := paging.Read[cursor](&directoryv1.SearchPeopleRequest{Query: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.Next(cursor{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]paging.Request{
		"another query":   &directoryv1.SearchPeopleRequest{Query: "ad", PageToken: token},
		"no query":        &directoryv1.SearchPeopleRequest{PageToken: token},
		"another method":  &directoryv1.LookupByEmailRequest{Email: "ada", PageToken: token},
		"another service": &usersv1.ListUsersRequest{PageToken: token},
	} {
		_, err := paging.Read[cursor](req)
		if v := violations(t, err); !strings.Contains(v["page_token"], "another request") || len(v) != 1 {
			t.Errorf("%s: violations %v", name, v)
		}
	}
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	p, err := paging.Read[cursor](&usersv1.ListUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	good, err := p.Next(cursor{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"words":            "page two",
		"not JSON":         encode([]byte("page two")),
		"no version":       encode([]byte(`{}`)),
		"a number":         encode([]byte(`7`)),
		"cut short":        good[:len(good)-4],
		"padded":           good + "==",
		"a later version":  encode([]byte(strings.Replace(string(decoded), `"v":1`, `"v":2`, 1))),
		"another cursor":   encode([]byte(strings.Replace(string(decoded), `"ID"`, `"Id2"`, 1))),
		"a cursor's type":  encode([]byte(strings.Replace(string(decoded), `"1"`, `{}`, 1))),
		"longer than long": strings.Repeat("A", 5000),
	} {
		_, err := paging.Read[cursor](&usersv1.ListUsersRequest{PageToken: token})
		if v := violations(t, err); v["page_token"] == "" || len(v) != 1 {
			t.Errorf("%s: violations %v", name, v)
		}
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	_, err := paging.Read[cursor](&usersv1.ListUsersRequest{PageSize: -1, PageToken: "x"})
	if v := violations(t, err); v["page_size"] == "" || v["page_token"] == "" {
		t.Errorf("violations %v", v)
	}
}

func TestACursorThatMakesNoTokenIsAnError(t *testing.T) {
	p, err := paging.Read[cursor](&usersv1.ListUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := p.Next(cursor{ID: strings.Repeat("x", 4000)}); err == nil {
		t.Errorf("a token of %d bytes could not be read again", len(token))
	}
	odd, err := paging.Read[func()](&usersv1.ListUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := odd.Next(func() {}); err == nil {
		t.Error("a function was made a token")
	}
}

func FuzzTokensNeverPanic(f *testing.F) {
	f.Add("")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"v":1,"q":"","c":{"Time":1,"ID":"x"}}`)))
	f.Fuzz(func(t *testing.T, token string) {
		p, err := paging.Read[cursor](&usersv1.ListUsersRequest{PageToken: token})
		if err == nil && token != "" && p.After == nil {
			t.Errorf("token %q was taken for the first page", token)
		}
	})
}

func TestTotalIsExactUntilItIsAnEstimate(t *testing.T) {
	tests := []struct {
		rows, estimate int64
		want           int32
	}{
		{0, 7, 0},
		{10_000, 7, 10_000},
		{10_001, 7, 10_001}, // more are there than the estimate says
		{50_000, 48_000, 48_000},
		{50_000, math.MaxInt64, math.MaxInt32},
	}
	for _, tt := range tests {
		estimated := false
		count := func(_ context.Context, limit int) (int64, error) { return min(tt.rows, int64(limit)), nil }
		estimate := func(context.Context) (int64, error) { estimated = true; return tt.estimate, nil }
		got, err := paging.Total(t.Context(), count, estimate)
		if err != nil || got != tt.want {
			t.Errorf("%d rows: %d, %v; want %d", tt.rows, got, err, tt.want)
		}
		if estimated != (tt.rows > paging.MaxExactTotal) {
			t.Errorf("%d rows: asked for an estimate: %v", tt.rows, estimated)
		}
	}
	got, err := paging.Total(t.Context(), func(_ context.Context, limit int) (int64, error) { return int64(limit), nil }, nil)
	if err != nil || got != 10_001 {
		t.Errorf("without an estimate: %d, %v", got, err)
	}
}

func TestTotalPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	fails := func(context.Context) (int64, error) { return 0, broken }
	counts := func(_ context.Context, limit int) (int64, error) { return int64(limit), nil }
	if _, err := paging.Total(t.Context(), counts, fails); !errors.Is(err, broken) {
		t.Errorf("estimate: %v", err)
	}
	if _, err := paging.Total(t.Context(), func(ctx context.Context, _ int) (int64, error) { return fails(ctx) }, nil); !errors.Is(err, broken) {
		t.Errorf("count: %v", err)
	}
}

// A list method, whole but for its store.
func Example() {
	people := []string{"ada", "alan", "barbara", "edsger", "grace"}
	list := func(req *directoryv1.SearchPeopleRequest) (*directoryv1.SearchPeopleResponse, error) {
		page, err := paging.Read[struct{ ID string }](req)
		if err != nil {
			return nil, err
		}
		resp := &directoryv1.SearchPeopleResponse{}
		for _, id := range people { // SELECT … WHERE id > $1 ORDER BY id LIMIT $2, with page.Size+1
			if page.After != nil && id <= page.After.ID {
				continue
			}
			if len(resp.People) == page.Size {
				resp.NextPageToken, err = page.Next(struct{ ID string }{resp.People[page.Size-1].Id})
				break
			}
			resp.People = append(resp.People, &directoryv1.Person{Id: id})
		}
		return resp, err
	}
	req := &directoryv1.SearchPeopleRequest{PageSize: 2}
	for {
		resp, err := list(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		var ids []string
		for _, p := range resp.GetPeople() {
			ids = append(ids, p.GetId())
		}
		fmt.Println(strings.Join(ids, " "))
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return
		}
	}
	// Output:
	// ada alan
	// barbara edsger
	// grace
}
