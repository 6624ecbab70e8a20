package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// wantCode wants an error of this code, whose message names every word.
func wantCode(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v, want %v", err, code)
	}
	for _, w := range words {
		if !strings.Contains(status.Convert(err).Message(), w) {
			t.Errorf("%q is not in %v", w, err)
		}
	}
}

func TestAReaderWaitsForItsOwnWrite(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada := servicetest.NewUser("ada@example.org", "Ada")
	answers := make(chan error, 1)
	go func() {
		resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: ada.ID, MinVersion: 2})
		if err == nil && resp.GetPerson().GetName() != "Ada Lovelace" {
			err = fmt.Errorf("answered with %v", resp)
		}
		answers <- err
	}()
	servicetest.Publish(t, rec, ada.Created(t))
	r.CaughtUp()
	servicetest.Publish(t, rec, ada.Updated(t, "ada@example.org", "Ada Lovelace"))
	if err := <-answers; err != nil {
		t.Error(err)
	}
}

// notApplied returns the metadata of a VERSION_NOT_APPLIED, which has to arrive before the deadline.
func notApplied(t *testing.T, err error) map[string]string {
	t.Helper()
	wantCode(t, err, codes.Aborted)
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == "VERSION_NOT_APPLIED" {
			return info.GetMetadata()
		}
	}
	t.Errorf("no ErrorInfo in %v", err)
	return nil
}

// refusal is the metadata of the VERSION_NOT_APPLIED that a read of this version is answered with, 50 ms before its
// deadline. A machine that is so busy that the answer takes longer gets another try.
func (r *running) refusal(t *testing.T, id string, version uint64) map[string]string {
	t.Helper()
	var err error
	servicetest.Await(t, servicetest.Soon, 10*time.Millisecond, "an answer before the deadline", func() (bool, any) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = r.api.GetPerson(ctx, &directoryv1.GetPersonRequest{Id: id, MinVersion: version})
		return status.Code(err) != codes.DeadlineExceeded, err
	})
	return notApplied(t, err)
}

func TestAVersionThatIsNotThereInTimeIsToldWithItsDetails(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada, gone := servicetest.NewUser("ada@example.org", "Ada"), servicetest.NewUser("gone@example.org", "Gone")
	broken := servicetest.NewUser("broken@example.org", "Broken")
	rubbish := broken.Created(t)
	rubbish.Data = []byte{0xff}
	servicetest.Publish(t, rec, ada.Created(t), gone.Created(t), gone.Deleted(t), rubbish)
	r.CaughtUp()
	for _, tt := range []struct {
		name, id    string
		want        uint64
		have, state string
	}{
		{"one version behind", ada.ID, 2, "1", "behind"},
		{"never heard of", uuid.NewString(), 1, "0", "behind"},
		{"deleted before", gone.ID, 3, "2", "deleted"},
		{"parked", broken.ID, 1, "0", "parked"},
		{"a version that no user ever has", ada.ID, 1<<64 - 1, "1", "behind"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := r.refusal(t, tt.id, tt.want)
			if m["have"] != tt.have || m["want"] != fmt.Sprint(tt.want) || m["source"] != "/users" || m["state"] != tt.state {
				t.Errorf("metadata %v, want have %s, state %s", m, tt.have, tt.state)
			}
		})
	}
}

func TestADeletedPersonIsNotFound(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	gone := servicetest.NewUser("gone@example.org", "Gone")
	servicetest.Publish(t, rec, gone.Created(t), gone.Deleted(t))
	for _, v := range []uint64{2, 1, 0} { // the first waits for the deletion
		_, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: gone.ID, MinVersion: v})
		wantCode(t, err, codes.NotFound, gone.ID)
	}
	_, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: uuid.NewString()})
	wantCode(t, err, codes.NotFound)
}

func TestRubbishRequestsAreRefusedByTheFieldAtFault(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada := servicetest.NewUser("ada@example.org", "Ada")
	servicetest.Publish(t, rec, ada.Created(t), servicetest.NewUser("adam@example.org", "Adam").Created(t))
	r.CaughtUp()
	for _, id := range []string{"", "x", ada.ID + " ", "{" + ada.ID + "}", "urn:uuid:" + ada.ID, strings.ReplaceAll(ada.ID, "-", ""), "'; DROP TABLE people"} {
		_, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: id})
		wantCode(t, err, codes.InvalidArgument, "id")
	}
	if resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: strings.ToUpper(ada.ID)}); err != nil || resp.GetPerson().GetId() != ada.ID {
		t.Errorf("the same id in capitals: %v, %v", resp, err)
	}
	first, err := r.api.SearchPeople(r.Context(), &directoryv1.SearchPeopleRequest{Query: "ada", PageSize: 1})
	if err != nil || first.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", first, err)
	}
	for _, tt := range []struct {
		req   *directoryv1.SearchPeopleRequest
		field string
	}{
		{&directoryv1.SearchPeopleRequest{}, "query"},
		{&directoryv1.SearchPeopleRequest{Query: strings.Repeat("a", 255)}, "query"},
		{&directoryv1.SearchPeopleRequest{Query: "a", PageSize: -1}, "page_size"},
		{&directoryv1.SearchPeopleRequest{Query: "a", PageToken: "x"}, "page_token"},
		{&directoryv1.SearchPeopleRequest{Query: "ad", PageToken: first.GetNextPageToken()}, "page_token"},
	} {
		_, err := r.api.SearchPeople(r.Context(), tt.req)
		wantCode(t, err, codes.InvalidArgument, tt.field)
	}
	for _, tt := range []struct {
		req   *directoryv1.LookupByEmailRequest
		field string
	}{
		{&directoryv1.LookupByEmailRequest{}, "email"},
		{&directoryv1.LookupByEmailRequest{Email: strings.Repeat("a", 255)}, "email"},
		{&directoryv1.LookupByEmailRequest{Email: "a", PageSize: -1}, "page_size"},
		{&directoryv1.LookupByEmailRequest{Email: "ada", PageToken: first.GetNextPageToken()}, "page_token"},
	} {
		_, err := r.api.LookupByEmail(r.Context(), tt.req)
		wantCode(t, err, codes.InvalidArgument, tt.field)
	}
	for _, query := range []string{" ", "%", "_", "\x00", "' OR ''='", strings.Repeat("ﷺ", 84), "nobody"} {
		resp, err := r.api.SearchPeople(r.Context(), &directoryv1.SearchPeopleRequest{Query: query})
		if err != nil || len(resp.GetPeople()) != 0 || resp.GetTotalSize() != 0 || resp.GetNextPageToken() != "" {
			t.Errorf("%.20q: %v, %v; want nobody", query, resp, err)
		}
	}
	if got := r.holders("nobody@example.org"); got != "" {
		t.Errorf("held by %q", got)
	}
}

func TestPagesOfHoldersGoToTheEnd(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	for i := range 25 {
		servicetest.Publish(t, rec, servicetest.NewUser("One@example.org", fmt.Sprintf("Holder %d", i)).Created(t))
	}
	r.CaughtUp()
	seen := make(map[string]bool)
	req := &directoryv1.LookupByEmailRequest{Email: "one@EXAMPLE.org", PageSize: 10}
	for page := 1; ; page++ {
		resp, err := r.api.LookupByEmail(r.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetTotalSize() != 25 {
			t.Errorf("page %d: total %d, want 25", page, resp.GetTotalSize())
		}
		for _, p := range resp.GetPeople() {
			seen[p.GetId()] = true
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			if page != 3 || len(seen) != 25 {
				t.Errorf("%d pages with %d people", page, len(seen))
			}
			return
		}
	}
}

func TestPagingGoesToTheEndWhilePeopleAreWritten(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	const there = 1500
	servicetest.Publish(t, rec, crowd(t, there)...)
	r.CaughtUp()
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			u := servicetest.NewUser(fmt.Sprintf("crowded%d@example.org", i), "Late")
			if rec.Publish(ctx, servicetest.Topic, u.Created(t), u.Updated(t, u.Email, "Later"), u.Deleted(t)) != nil {
				return
			}
		}
	})
	seen := make(map[string]int)
	names, _ := r.names("crowd", 7)
	for _, n := range names {
		seen[n]++
	}
	cancel()
	writer.Wait()
	for i := range there {
		if n := seen[fmt.Sprintf("Crowd Member%d", i)]; n != 1 {
			t.Fatalf("member %d came %d times", i, n)
		}
	}
}

func TestWithoutABrokerItStartsServesAndOnlyHealthBusTurns(t *testing.T) {
	rec := bustest.NewRecorder()
	cfg := newConfig(t)
	r := start(t, cfg, servicetest.Over(rec))
	servicetest.Publish(t, rec, servicetest.NewUser("ada@example.org", "Ada").Created(t))
	r.CaughtUp()
	r.Stop()
	rec.SetDown(true)
	r = start(t, cfg, servicetest.Over(rec))
	wantHealth := func(bus bool) {
		t.Helper()
		for name, want := range map[string]bool{"": true, "directory.v1.DirectoryService": true, "bus": bus} {
			if got := r.Serving(name); got != want {
				t.Errorf("health %q serving: %v, want %v", name, got, want)
			}
		}
	}
	wantHealth(false)
	if got := r.holders("ada@example.org"); got != "Ada" {
		t.Errorf("held by %q", got)
	}
	rec.SetDown(false)
	r.CaughtUp()
	wantHealth(true)
}
