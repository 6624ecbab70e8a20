package inbox

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"google.golang.org/protobuf/proto"
)

// twins are the events of one change of a user, best first.
func twins(t testing.TB, key string, v uint64, name string) []bus.Event {
	t.Helper()
	var messages []proto.Message
	v1 := &eventsv1.User{Id: key, Name: name, Version: v}
	v2 := &eventsv2.User{Id: key, Name: &eventsv2.PersonName{Given: name}, Version: v}
	if v == 1 {
		messages = []proto.Message{&eventsv2.UserCreated{User: v2}, &eventsv1.UserCreated{User: v1}}
	} else {
		messages = []proto.Message{&eventsv2.UserUpdated{User: v2}, &eventsv1.UserUpdated{User: v1}}
	}
	events, err := bus.NewTwins(source, key, v, messages...)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func takeV1[M interface {
	proto.Message
	GetUser() *eventsv1.User
}](ctx context.Context, tx Tx, e bus.Event, m M) error {
	return insert(ctx, tx, &e, "v1 "+m.GetUser().GetName())
}

func takeV2[M interface {
	proto.Message
	GetUser() *eventsv2.User
}](ctx context.Context, tx Tx, e bus.Event, m M) error {
	return insert(ctx, tx, &e, "v2 "+m.GetUser().GetName().GetGiven())
}

func upUser(u *eventsv1.User) *eventsv2.User {
	return &eventsv2.User{Id: u.GetId(), Name: &eventsv2.PersonName{Given: u.GetName()}, Version: u.GetVersion()}
}

func upCreated(_ bus.Event, m *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
	return &eventsv2.UserCreated{User: upUser(m.GetUser())}, nil
}

func upUpdated(_ bus.Event, m *eventsv1.UserUpdated) (*eventsv2.UserUpdated, error) {
	return &eventsv2.UserUpdated{User: upUser(m.GetUser())}, nil
}

// Releases of a service, by what they read.
func readsV1() []Route {
	return []Route{On(takeV1[*eventsv1.UserCreated]), On(takeV1[*eventsv1.UserUpdated])}
}

func readsV2() []Route {
	return []Route{On(takeV2[*eventsv2.UserCreated]), On(takeV2[*eventsv2.UserUpdated])}
}

func readsBoth() []Route { return append(readsV2(), Upcast(upCreated), Upcast(upUpdated)) }

func TestEachReaderTakesTheBestTwinThatItCanRead(t *testing.T) {
	for name, tt := range map[string]struct {
		routes     []Route
		want       []string
		duplicates int64
	}{
		"v1 only":             {readsV1(), []string{"a:1 v1 Ann", "a:2 v1 Anna"}, 0},
		"v2 only":             {readsV2(), []string{"a:1 v2 Ann", "a:2 v2 Anna"}, 0},
		"both, by conversion": {readsBoth(), []string{"a:1 v2 Ann", "a:2 v2 Anna"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			in, l := mustNew(t, config(t, newDB(t)), tt.routes...), newTape(t, 1)
			l.put(0, append(twins(t, "a", 1, "Ann"), twins(t, "a", 2, "Anna")...)...)
			l.rest(in)
			if diff := cmp.Diff(tt.want, applications(t, in.cfg.DB)); diff != "" {
				t.Error(diff)
			}
			if s := status(t, in); s.Duplicates != tt.duplicates || s.Missing != 0 || s.Parked != 0 || s.Versions != 2 || s.Positions[0].Offset != 4 {
				t.Errorf("status is %+v", s)
			}
		})
	}
}
