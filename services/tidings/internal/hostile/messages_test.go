package hostile

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// fate is what becomes of a record.
type fate string

const (
	dead  fate = "dead"  // parked, and tried no more
	pass  fate = "pass"  // somebody else's: passed over, and counted each time that it comes
	skip  fate = "skip"  // of a type that nobody knows: passed over, counted and marked, so that it counts once
	takes fate = "takes" // for what it says
)

// fates are those at directory, audit and mailer.
type fates [3]fate

var (
	deadToAll  = fates{dead, dead, dead}
	passedOver = fates{pass, pass, pass}
	takenByAll = fates{takes, takes, takes}
	// What the audit keeps without looking into it, and the others can't read.
	unreadable = fates{dead, takes, dead}
)

// hostileRecord is a record that nobody should have written. The key of most is their name.
type hostileRecord struct {
	name  string
	fates fates
	*kgo.Record
}

// big is the size of what is huge: it leaves room for an envelope under the broker's limit.
const big = 900_000

// records are hostile records of every kind; known is the id of a user whom the owner tells of.
func records(t *testing.T, known string) []hostileRecord {
	var all []hostileRecord
	add := func(name string, f fates, value []byte, headers ...string) *kgo.Record {
		r := &kgo.Record{Key: []byte(name), Value: value}
		for i := 0; i < len(headers); i += 2 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
		}
		all = append(all, hostileRecord{name, f, r})
		return r
	}
	structured := []string{"content-type", bus.TypeEnvelope}
	event := func(name string, f fates, change func(*bus.Event)) *kgo.Record {
		e := whole(t, name)
		change(&e)
		return add(name, f, e.AppendEnvelope(nil), structured...)
	}
	good := whole(t, "good")
	envelope := good.AppendEnvelope(nil)

	// Records that are no events.
	add("no value", deadToAll, nil)
	add("no value, and a header", deadToAll, nil, structured...)
	add("empty value", deadToAll, []byte{}, structured...)
	add("random bytes", deadToAll, random(1000), structured...)
	add("random bytes, no header", deadToAll, random(1000))
	add("900 kB of random bytes", deadToAll, random(big), structured...)
	add("900 kB of zeros", deadToAll, make([]byte, big), structured...)
	add("half an envelope", deadToAll, envelope[:len(envelope)/2], structured...)
	add("a length beyond the end", deadToAll, append(bytes.Clone(envelope), "\x42\xff\xff\xff\xff\x0f"...), structured...)
	add("JSON", deadToAll, []byte(`{"specversion":"1.0","id":"1","source":"/users","type":"users.events.v1.UserCreated"}`), "content-type", "application/cloudevents+json")
	add("another content-type", deadToAll, envelope, "content-type", "text/html")
	add("two content-types", deadToAll, []byte("x"), "content-type", bus.TypeEnvelope, "content-type", "text/html")
	add("headers without an id", deadToAll, good.Data, "ce_specversion", "1.0", "ce_source", "/users", "ce_type", good.Type)
	add("headers of another version", deadToAll, good.Data, "ce_specversion", "9.9", "ce_id", "1", "ce_source", "/users", "ce_type", good.Type)
	add("two ids", deadToAll, good.Data, "ce_specversion", "1.0", "ce_id", "1", "ce_id", "2", "ce_source", "/users", "ce_type", good.Type)
	add("headers that are no text", deadToAll, good.Data, "ce_specversion", "1.0", "ce_id", "\xff\x00", "ce_source", "/users", "ce_type", good.Type)
	add("a group that is nested too deep", deadToAll, nested(envelope, 20_000), structured...)

	// Events with attributes that none should have.
	event("version 2^63", deadToAll, func(e *bus.Event) { e.Version = 1 << 63 })
	event("version 2^64-1", deadToAll, func(e *bus.Event) { e.Version = math.MaxUint64 })
	event("a type of 10 kB", deadToAll, func(e *bus.Event) { e.Type = strings.Repeat("t", 10_000) })
	event("an id of 900 kB", deadToAll, func(e *bus.Event) { e.ID = strings.Repeat("i", big) })
	event("a type of the future", fates{skip, takes, skip}, func(e *bus.Event) { e.Type = "users.events.v9.UserCreated" })
	event("40,000 attributes", takenByAll, func(e *bus.Event) { e.Ext = attributes(40_000) })
	event("no version", takenByAll, func(e *bus.Event) { e.Version = 0 })
	event("no subject", takenByAll, func(e *bus.Event) { e.Key = "" })
	event("the year 1", takenByAll, func(e *bus.Event) { e.Time = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC) })
	event("the year 9999", takenByAll, func(e *bus.Event) { e.Time = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) })
	event("a number without end", takenByAll, func(e *bus.Event) { e.Seq, e.SeqLog = math.MaxUint64, "x" })
	add("a group that is nested deep", takenByAll, nested(keyed(t, "a group that is nested deep"), 9000), structured...)
	add("half a million unknown fields about it", takenByAll, append(keyed(t, "half a million unknown fields about it"), unknown(15, big/2)...), structured...)

	// Events whose data is not what they say.
	event("data that is none", unreadable, func(e *bus.Event) { e.Data = []byte{0xff} })
	event("data of another type", unreadable, func(e *bus.Event) { e.DataType, e.Data = "application/json", []byte(`{"user":{}}`) })
	event("data nested too deep", unreadable, func(e *bus.Event) { e.Data = nested(e.Data, 20_000) })
	event("data nested deep", takenByAll, func(e *bus.Event) { e.Data = nested(e.Data, 9000) })
	event("half a million unknown fields", takenByAll, func(e *bus.Event) { e.Data = append(e.Data, unknown(15, big/2)...) })
	event("no data", unreadable, func(e *bus.Event) { e.Data = nil })
	user := func(name string, f fates, change func(*eventsv1.User)) {
		event(name, f, func(e *bus.Event) { e.Data = data(t, name, change) })
	}
	user("no id", fates{dead, takes, takes}, func(u *eventsv1.User) { u.Id = "" })
	user("somebody else's id", fates{dead, takes, takes}, func(u *eventsv1.User) { u.Id = known })
	user("a name of 900 kB", takenByAll, func(u *eventsv1.User) { u.Name = strings.Repeat("N", big) })
	user("a name of 450,000 words", takenByAll, func(u *eventsv1.User) { u.Name = strings.Repeat("n ", big/2) })
	user("a name with a NUL", takenByAll, func(u *eventsv1.User) { u.Name = "Nul\x00" })
	user("times beyond reason", takenByAll, func(u *eventsv1.User) {
		u.CreateTime, u.UpdateTime = &timestamppb.Timestamp{Seconds: math.MaxInt64}, &timestamppb.Timestamp{Seconds: math.MinInt64, Nanos: -1}
	})

	// Events of others, about a user who is there.
	for _, m := range []proto.Message{&eventsv1.UserUpdated{User: &eventsv1.User{Id: known, Name: "Forged"}}, &eventsv1.UserDeleted{Id: known}} {
		e, err := bus.NewEvent("/elsewhere", known, 1000, m)
		if err != nil {
			t.Fatal(err)
		}
		add("of another source: "+e.Type, passedOver, e.AppendEnvelope(nil), structured...).Key = []byte(known)
	}
	return all
}

// whole is the event of somebody new whose id is key.
func whole(t *testing.T, key string) bus.Event {
	t.Helper()
	e := servicetest.Event(t, key, 1, &eventsv1.UserCreated{User: &eventsv1.User{}})
	e.Data = data(t, key, func(*eventsv1.User) {})
	return e
}

func keyed(t *testing.T, key string) []byte {
	e := whole(t, key)
	return e.AppendEnvelope(nil)
}

func data(t *testing.T, key string, change func(*eventsv1.User)) []byte {
	t.Helper()
	u := &eventsv1.User{Id: key, Email: "hostile@example.org", Name: "Hostile", Version: 1, CreateTime: timestamppb.Now(), UpdateTime: timestamppb.Now()}
	change(u)
	b, err := proto.Marshal(&eventsv1.UserCreated{User: u})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	b[0] = 0xff // or it might be a field, by chance
	return b
}

// unknown is n fields of a number below 16, of two bytes each.
func unknown(number protowire.Number, n int) []byte {
	return bytes.Repeat(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 1), n)
}

// nested puts groups within groups behind a message.
func nested(message []byte, deep int) []byte {
	const number = 1000
	b := append(bytes.Clone(message), bytes.Repeat(protowire.AppendTag(nil, number, protowire.StartGroupType), deep)...)
	return append(b, bytes.Repeat(protowire.AppendTag(nil, number, protowire.EndGroupType), deep)...)
}

func attributes(n int) map[string]string {
	all := make(map[string]string, n)
	for i := range n {
		all[fmt.Sprintf("x%d", i)] = ""
	}
	return all
}
