package compat_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// future is an enum number that nobody has given a meaning yet.
const future = 77

func TestAnEnumNumberOfTheFutureArrivesAndIsKept(t *testing.T) {
	e := servicetest.Event(t, "k", 1, &eventsv2.UserCreated{User: &eventsv2.User{Name: &eventsv2.PersonName{Given: "Ada", Order: future}}})
	m, err := bus.Decode[*eventsv2.UserCreated](e)
	if err != nil || m.GetUser().GetName().GetOrder() != future {
		t.Fatalf("got %v, %v", m, err)
	}
	if again := marshal(t, m); !bytes.Equal(again, e.Data) {
		t.Errorf("encoded again it is %x, and was %x", again, e.Data)
	}
	text, err := protojson.Marshal(m)
	if err != nil || !bytes.Contains(bytes.ReplaceAll(text, []byte(" "), nil), []byte(`"order":77`)) {
		t.Errorf("as JSON it is %s, %v", text, err)
	}
	back := &eventsv2.UserCreated{}
	if err := protojson.Unmarshal(text, back); err != nil || !proto.Equal(back, m) {
		t.Errorf("from JSON it is %v, %v", back, err)
	}
}

// A case of a oneof that this release doesn't know reads as none, and is there when it is passed on.
func TestAOneofCaseOfTheFutureArrivesAndIsKept(t *testing.T) {
	raw := protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "a kind of entry to come")
	entry := &auditv1.Entry{}
	if err := proto.Unmarshal(raw, entry); err != nil || entry.GetKind() != nil {
		t.Fatalf("got %v, %v", entry, err)
	}
	if again := marshal(t, entry); !bytes.Equal(again, raw) {
		t.Errorf("passed on it is %x, and was %x", again, raw)
	}
}
