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
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
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
	r := start(t, newConfig(t), over(rec))
	ada := newUser("ada@example.org", "Ada")
	answers := make(chan error, 1)
	go func() {
		resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: ada.id, MinVersion: 2})
		if err == nil && resp.GetPerson().GetName() != "Ada Lovelace" {
			err = fmt.Errorf("answered with %v", resp)
		}
		answers <- err
	}()
	publish(t, rec, ada.created(t))
	r.CaughtUp()
	publish(t, rec, ada.updated(t, "ada@example.org", "Ada Lovelace"))
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

func TestAVersionThatIsNotThereInTimeIsToldWithItsDetails(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), over(rec))
	ada, gone, broken := newUser("ada@example.org", "Ada"), newUser("gone@example.org", "Gone"), newUser("broken@example.org", "Broken")
	rubbish := broken.created(t)
	rubbish.Data = []byte{0xff}
	publish(t, rec, ada.created(t), gone.created(t), gone.deleted(t), rubbish)
	r.CaughtUp()
	for _, tt := range []struct {
		name, id    string
		want        uint64
		have, state string
	}{
		{"one version behind", ada.id, 2, "1", "behind"},
		{"never heard of", uuid.NewString(), 1, "0", "behind"},
		{"deleted before", gone.id, 3, "2", "deleted"},
		{"parked", broken.id, 1, "0", "parked"},
		{"a version that no user ever has", ada.id, 1<<64 - 1, "1", "behind"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := r.api.GetPerson(ctx, &directoryv1.GetPersonRequest{Id: tt.id, MinVersion: tt.want})
			m := notApplied(t, err)
			if m["have"] != tt.have || m["want"] != fmt.Sprint(tt.want) || m["source"] != "/users" || m["state"] != tt.state {
				t.Errorf("metadata %v, want have %s, state %s", m, tt.have, tt.state)
			}
		})
	}
}

func TestADeletedPersonIsNotFound(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), over(rec))
	gone := newUser("gone@example.org", "Gone")
	publish(t, rec, gone.created(t), gone.deleted(t))
	for _, v := range []uint64{2, 1, 0} { // the first waits for the deletion
		_, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: gone.id, MinVersion: v})
		wantCode(t, err, codes.NotFound, gone.id)
	}
	_, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: uuid.NewString()})
	wantCode(t, err, codes.NotFound)
}

func TestRubbishRequestsAreRefusedByTheFieldAtFault(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), over(rec))
	ada := newUser("ada@example.org", "Ada")
	publish(t, rec, ada.created(t), newUser("adam@example.org", "Adam").created(t))
	r.CaughtUp()
	for _, id := range []string{"", "x", ada.id + " ", "{" + ada.id + "}", "urn:uuid:" + ada.id, strings.ReplaceAll(ada.id, "-", ""), "'; DROP TABLE people"} {
		_, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: id})
		wantCode(t, err, codes.InvalidArgument, "id")
	}
	if resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: strings.ToUpper(ada.id)}); err != nil || resp.GetPerson().GetId() != ada.id {
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
	r := start(t, newConfig(t), over(rec))
	for i := range 25 {
		publish(t, rec, newUser("One@example.org", fmt.Sprintf("Holder %d", i)).created(t))
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
	r := start(t, newConfig(t), over(rec))
	const there = 1500
	publish(t, rec, crowd(t, there)...)
	r.CaughtUp()
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			u := newUser(fmt.Sprintf("crowded%d@example.org", i), "Late")
			if rec.Publish(ctx, topic, u.created(t), u.updated(t, u.email, "Later"), u.deleted(t)) != nil {
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

func (r *running) health(name string) healthpb.HealthCheckResponse_ServingStatus {
	r.t.Helper()
	resp, err := healthpb.NewHealthClient(r.Conn).Check(r.Context(), &healthpb.HealthCheckRequest{Service: name})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.GetStatus()
}

func TestWithoutABrokerItStartsServesAndOnlyHealthBusTurns(t *testing.T) {
	rec := bustest.NewRecorder()
	cfg := newConfig(t)
	r := start(t, cfg, over(rec))
	publish(t, rec, newUser("ada@example.org", "Ada").created(t))
	r.CaughtUp()
	r.Stop()
	rec.SetDown(true)
	r = start(t, cfg, over(rec))
	wantHealth := func(bus healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for name, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
			"": healthpb.HealthCheckResponse_SERVING, "directory.v1.DirectoryService": healthpb.HealthCheckResponse_SERVING, "bus": bus,
		} {
			if got := r.health(name); got != want {
				t.Errorf("health %q is %v, want %v", name, got, want)
			}
		}
	}
	wantHealth(healthpb.HealthCheckResponse_NOT_SERVING)
	if got := r.holders("ada@example.org"); got != "Ada" {
		t.Errorf("held by %q", got)
	}
	rec.SetDown(false)
	r.CaughtUp()
	wantHealth(healthpb.HealthCheckResponse_SERVING)
}
