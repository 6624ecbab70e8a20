package inbox

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// What routes are said to read without a database is what an inbox with them reads.
func TestRoutesSayWhatTheyRead(t *testing.T) {
	nothing := func(context.Context, Tx, []bus.Event) error { return nil }
	up := func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
		return &eventsv2.UserCreated{}, nil
	}
	for want, routes := range map[string][]Route{
		"users.events.v1.UserCreated users.events.v1.UserDeleted users.events.v2.UserCreated": {
			Batch(nothing, &eventsv2.UserCreated{}, &eventsv1.UserDeleted{}), Upcast(up),
		},
		"*": {Any(nothing)},
	} {
		if got := strings.Join(TypesOf(routes...), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		in, err := New(Config{Group: "g", Topics: []string{"t"}, DB: newDB(t)}, routes...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(in.Types(), TypesOf(routes...)) || !strings.HasPrefix(in.Group(), "g.") {
			t.Errorf("%s reads %v", in.Group(), in.Types())
		}
	}
}
