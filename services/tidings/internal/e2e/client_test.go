package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
)

// prefix begins every address that these tests make up, so that one search finds all people.
const prefix = "person-"

func address(i int) string { return fmt.Sprintf("%s%06d@example.com", prefix, i) }

// user is a user as the tests compare them.
type user struct {
	ID, Email, Name string
	Version         uint64
}

// callTime bounds one call.
const callTime = 30 * time.Second

// write sends a request to the write door and returns the answer's code, headers and body.
func (s *service) write(t *testing.T, method, id string, body map[string]string, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	code, header, answer, err := s.tryWrite(t, method, id, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, id, err)
	}
	return code, header, answer
}

// tryWrite is write to a door that may be gone.
func (s *service) tryWrite(t *testing.T, method, id string, body map[string]string, headers ...string) (int, http.Header, []byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	url := strings.TrimSuffix("http://"+s.door+"/v1/users/"+id, "/")
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// owned is what the owner holds, by id.
func (s *stack) owned(t *testing.T) map[string]user {
	t.Helper()
	all := map[string]user{}
	client, token := usersv1.NewUserServiceClient(s.users.any().conn), ""
	for {
		resp, err := call(t, client.ListUsers, &usersv1.ListUsersRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			t.Fatalf("ListUsers: %v", err)
		}
		for _, u := range resp.GetUsers() {
			all[u.GetId()] = user{u.GetId(), u.GetEmail(), u.GetName(), u.GetVersion()}
		}
		if token = resp.GetNextPageToken(); token == "" {
			return all
		}
	}
}

// people is what a directory holds, by id.
func (s *service) people(t *testing.T) (map[string]user, error) {
	t.Helper()
	all := map[string]user{}
	client, token := directoryv1.NewDirectoryServiceClient(s.conn), ""
	for {
		resp, err := call(t, client.SearchPeople, &directoryv1.SearchPeopleRequest{Query: prefix, PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, fmt.Errorf("SearchPeople: %w", err)
		}
		for _, p := range resp.GetPeople() {
			if _, twice := all[p.GetId()]; twice {
				return nil, fmt.Errorf("person %s is found twice", p.GetId())
			}
			all[p.GetId()] = user{p.GetId(), p.GetEmail(), p.GetName(), p.GetVersion()}
		}
		if token = resp.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

// entry is a line of a user's history: an event, or a hole, which is the versions from first to last.
type entry struct {
	first, last uint64
	hole        bool
}

func (e entry) String() string {
	if e.hole {
		return fmt.Sprintf("versions %d to %d not received", e.first, e.last)
	}
	return fmt.Sprint(e.first)
}

// history is what an audit lists of a user, in the order in which it does.
func (s *service) history(t *testing.T, id string) ([]entry, error) {
	t.Helper()
	var entries []entry
	client, token := auditv1.NewAuditServiceClient(s.conn), ""
	for {
		resp, err := call(t, client.ListUserEvents, &auditv1.ListUserEventsRequest{UserId: id, PageToken: token})
		if err != nil {
			return nil, fmt.Errorf("ListUserEvents %s: %w", id, err)
		}
		for _, e := range resp.GetEntries() {
			switch event, hole := e.GetEvent(), e.GetHole(); {
			case event != nil:
				entries = append(entries, entry{event.GetVersion(), event.GetVersion(), false})
			case hole != nil:
				entries = append(entries, entry{hole.GetFirstVersion(), hole.GetLastVersion(), true})
			default:
				return nil, fmt.Errorf("user %s: an entry is neither event nor hole: %v", id, e)
			}
		}
		if token = resp.GetNextPageToken(); token == "" {
			return entries, nil
		}
	}
}

// messages is how many messages in a state a mailer has for each user.
func (s *service) messages(t *testing.T, state mailerv1.Message_State) (map[string]int, error) {
	t.Helper()
	all := map[string]int{}
	client, token := mailerv1.NewMailerServiceClient(s.conn), ""
	for {
		resp, err := call(t, client.ListMessages, &mailerv1.ListMessagesRequest{State: state, PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, fmt.Errorf("ListMessages: %w", err)
		}
		for _, m := range resp.GetMessages() {
			all[m.GetUserId()]++
		}
		if token = resp.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

// call calls an RPC with a deadline. A service that has just been started again may be met on a connection to the
// process before: it is asked again, as any client would.
func call[Req, Resp any](t *testing.T, rpc func(context.Context, Req, ...grpc.CallOption) (Resp, error), req Req) (Resp, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	resp, err := rpc(ctx, req, grpc.WaitForReady(true))
	for status.Code(err) == codes.Unavailable && ctx.Err() == nil {
		resp, err = rpc(ctx, req, grpc.WaitForReady(true))
	}
	return resp, err
}
