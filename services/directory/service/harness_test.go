package service_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// topic and soon are those of every service's tests.
const (
	topic = servicetest.Topic
	soon  = servicetest.Soon
)

// over opens connections to rec.
func over(rec *bustest.Recorder) lifecycle.OpenBus { return servicetest.Over(rec) }

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

// user is somebody whom a test tells of.
type user struct {
	id, email, name string
	version         uint64
}

// newUser is somebody new, with an id like those of the users service.
func newUser(email, name string) *user {
	return &user{id: uuid.Must(uuid.NewV7()).String(), email: email, name: name}
}

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// message is the user as an event carries it; a version more is an hour later.
func (u *user) message() *eventsv1.User {
	return &eventsv1.User{
		Id: u.id, Email: u.email, Name: u.name, Version: u.version,
		CreateTime: timestamppb.New(began), UpdateTime: timestamppb.New(began.Add(time.Duration(u.version-1) * time.Hour)),
	}
}

// created, updated and deleted make the event of the user's next version.
func (u *user) created(t testing.TB) bus.Event {
	u.version++
	return event(t, u.id, u.version, &eventsv1.UserCreated{User: u.message()})
}

func (u *user) updated(t testing.TB, email, name string) bus.Event {
	u.version++
	u.email, u.name = email, name
	return event(t, u.id, u.version, &eventsv1.UserUpdated{User: u.message()})
}

func (u *user) deleted(t testing.TB) bus.Event {
	u.version++
	return event(t, u.id, u.version, &eventsv1.UserDeleted{Id: u.id, Version: u.version})
}

func event(t testing.TB, key string, v uint64, m proto.Message) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/users", key, v, m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func publish(t testing.TB, b bus.Publisher, events ...bus.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := b.Publish(ctx, topic, events...); err != nil {
		t.Fatal(err)
	}
}

// crowd makes the events of n new users.
func crowd(t testing.TB, n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = newUser(fmt.Sprintf("user%d@example.org", i), fmt.Sprintf("Crowd Member%d", i)).created(t)
	}
	return events
}
