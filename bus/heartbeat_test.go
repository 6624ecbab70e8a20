package bus_test

import (
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

func TestAHeartbeatTravelsInAnEvent(t *testing.T) {
	for _, want := range []bus.Heartbeat{
		{Topic: "user_activity", Source: "/users", SeqLog: "0a1b2c3d", Seq: 12},
		{Topic: "user_activity", Source: "/users", SeqLog: "0a1b2c3d"}, // nothing was numbered yet
	} {
		e, err := want.Event()
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("Validate: %v", err)
		}
		read, err := bus.ParseEnvelope(e.AppendEnvelope(nil))
		if err != nil {
			t.Fatal(err)
		}
		read.At = bus.Position{Topic: "user_activity", Offset: -1}
		if got, ok := read.Heartbeat(); !ok || got != want {
			t.Errorf("Heartbeat() = %+v, %v, want %+v", got, ok, want)
		}
	}
}

func TestAnEventLikeOthersIsNoHeartbeat(t *testing.T) {
	e := bus.Event{ID: "1", Source: "/users", Type: "users.events.v1.UserCreated", Key: "k", Seq: 3, SeqLog: "x"}
	if h, ok := e.Heartbeat(); ok {
		t.Errorf("Heartbeat() = %+v", h)
	}
}
