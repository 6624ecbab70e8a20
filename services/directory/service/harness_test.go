package service_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// newConfig is for a service on a free port, with a database of its own.
func newConfig(t testing.TB) service.Config {
	return service.Config{Common: servicetest.Common(t, "directory")}
}

// running is the directory over loopback.
type running struct {
	*servicetest.Running
	t   testing.TB
	api directoryv1.DirectoryServiceClient
}

// start runs the directory until Stop is called or the test ends.
func start(t testing.TB, cfg service.Config, open lifecycle.OpenBus) *running {
	t.Helper()
	r := servicetest.Start(t, open, func(env lifecycle.Env) *lifecycle.Runner { return service.New(cfg, env) })
	return &running{Running: r, t: t, api: directoryv1.NewDirectoryServiceClient(r.Conn)}
}

// at waits until everything has been read and the versions of all users add up to versions. The sum is waited for too:
// one reading of the status is not one state of the database, and may show an older sum beside lag 0.
func (r *running) at(versions uint64) lifecycle.Status {
	r.t.Helper()
	return r.Until(fmt.Sprint("lag 0 and versions ", versions), func(s lifecycle.Status) bool {
		return s.Bus && s.Lag == 0 && s.Versions == versions
	})
}

// names searches, and returns the names that were found, in their order, by pages of pageSize.
func (r *running) names(query string, pageSize int32) (names []string, total int32) {
	r.t.Helper()
	req := &directoryv1.SearchPeopleRequest{Query: query, PageSize: pageSize}
	for {
		resp, err := r.api.SearchPeople(r.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, p := range resp.GetPeople() {
			names = append(names, p.GetName())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return names, resp.GetTotalSize()
		}
	}
}

// holders looks an address up.
func (r *running) holders(email string) string {
	r.t.Helper()
	resp, err := r.api.LookupByEmail(r.Context(), &directoryv1.LookupByEmailRequest{Email: email})
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, p := range resp.GetPeople() {
		names = append(names, p.GetName())
	}
	return strings.Join(names, ", ")
}

// crowd makes the events of n new users.
func crowd(t testing.TB, n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = servicetest.NewUser(fmt.Sprintf("user%d@example.org", i), fmt.Sprintf("Crowd Member%d", i)).Created(t)
	}
	return events
}
