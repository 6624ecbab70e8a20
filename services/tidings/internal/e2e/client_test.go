package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
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
const callTime = 10 * time.Second

// write sends a request to the write door and returns the answer's code, headers and body.
func (s *service) write(t *testing.T, method, id string, body map[string]string, headers ...string) (int, http.Header, []byte) {
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
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

// create makes the users from..to, several at a time, and returns their ids in order.
func (s *service) create(t *testing.T, from, to int) []string {
	t.Helper()
	ids := make([]string, to-from)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				ids[i-from] = s.createOne(t, address(i), fmt.Sprintf("Person Number%d", i))
			}
		})
	}
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return ids
}

func (s *service) createOne(t *testing.T, email, name string) (id string) {
	t.Helper()
	code, header, body := s.write(t, http.MethodPost, "", map[string]string{"email": email, "name": name})
	if code != http.StatusCreated {
		t.Errorf("POST %s: %d %s", email, code, body)
	}
	return path.Base(header.Get("Location"))
}

func (s *service) patch(t *testing.T, id string, body map[string]string) {
	t.Helper()
	if code, _, answer := s.write(t, http.MethodPatch, id, body); code != http.StatusOK {
		t.Fatalf("PATCH %s: %d %s", id, code, answer)
	}
}

func (s *service) remove(t *testing.T, id string) {
	t.Helper()
	if code, _, answer := s.write(t, http.MethodDelete, id, nil); code != http.StatusNoContent {
		t.Fatalf("DELETE %s: %d %s", id, code, answer)
	}
}

// owned is what the owner holds, by id.
func (s *stack) owned(t *testing.T) map[string]user {
	t.Helper()
	all := map[string]user{}
	client, token := usersv1.NewUserServiceClient(s.users.conn), ""
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

// history is the versions of a user's events in an audit, in the order in which it lists them.
func (s *service) history(t *testing.T, id string) ([]uint64, error) {
	t.Helper()
	var versions []uint64
	client, token := auditv1.NewAuditServiceClient(s.conn), ""
	for {
		resp, err := call(t, client.ListUserEvents, &auditv1.ListUserEventsRequest{UserId: id, PageToken: token})
		if err != nil {
			return nil, fmt.Errorf("ListUserEvents %s: %w", id, err)
		}
		for _, e := range resp.GetEntries() {
			if e.GetEvent() == nil {
				return nil, fmt.Errorf("user %s: an entry is no event: %v", id, e)
			}
			versions = append(versions, e.GetEvent().GetVersion())
		}
		if token = resp.GetNextPageToken(); token == "" {
			return versions, nil
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

// holds says how a reader differs from what the owner holds; nil if it doesn't.
func (s *service) holds(t *testing.T, want map[string]user) error {
	t.Helper()
	switch s.name {
	case "directory":
		return s.holdsPeople(t, want)
	case "audit":
		return s.holdsHistory(t, want)
	default:
		return s.holdsMessages(t, want)
	}
}

func (s *service) holdsPeople(t *testing.T, want map[string]user) error {
	t.Helper()
	got, err := s.people(t)
	if err != nil {
		return err
	}
	for id, u := range want {
		if got[id] != u {
			return fmt.Errorf("has %d people of %d; %+v is %+v", len(got), len(want), u, got[id])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("has %d people, want %d", len(got), len(want))
	}
	return nil
}

// holdsHistory checks that every user's events are there, each version once and in order.
func (s *service) holdsHistory(t *testing.T, want map[string]user) error {
	t.Helper()
	for id, u := range want {
		versions, err := s.history(t, id)
		if err != nil {
			return err
		}
		if err := dense(versions, u.Version); err != nil {
			return fmt.Errorf("user %s: %w", id, err)
		}
	}
	return nil
}

// dense reports versions that are not 1, 2, 3 … last.
func dense(versions []uint64, last uint64) error {
	for i, v := range versions {
		if v != uint64(i)+1 {
			return fmt.Errorf("events are of versions %v, want 1 to %d", versions, last)
		}
	}
	if uint64(len(versions)) != last {
		return fmt.Errorf("events are of versions %v, want 1 to %d", versions, last)
	}
	return nil
}

func (s *service) holdsMessages(t *testing.T, want map[string]user) error {
	t.Helper()
	got, err := s.messages(t, mailerv1.Message_STATE_SENT)
	if err != nil {
		return err
	}
	for id := range want {
		if got[id] != 1 {
			return fmt.Errorf("%d mails were sent to user %s, want 1", got[id], id)
		}
	}
	return nil
}
