package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The third version of a user's creation is a text.
func upV3(e bus.Event, m *eventsv2.UserCreated) (*wrapperspb.StringValue, error) {
	return wrapperspb.String(m.GetUser().GetName().GetGiven() + " from " + e.Type), nil
}

func takeV3(ctx context.Context, tx Tx, e bus.Event, m *wrapperspb.StringValue) error {
	return insert(ctx, tx, &e, "v3 "+m.GetValue())
}

func TestNewNamesEveryFaultOfUpcasters(t *testing.T) {
	circle1 := Upcast(func(bus.Event, *wrapperspb.BoolValue) (*wrapperspb.BytesValue, error) { return nil, nil })
	circle2 := Upcast(func(bus.Event, *wrapperspb.BytesValue) (*wrapperspb.BoolValue, error) { return nil, nil })
	_, err := New(Config{Group: "g", Topics: []string{topic}, DB: newDB(t)},
		Upcast(upCreated), Upcast(upCreated), // two, to nobody
		On(takeV1[*eventsv1.UserUpdated]), On(takeV2[*eventsv2.UserUpdated]), Upcast(upUpdated),
		circle1, circle2,
		Upcast[*eventsv1.UserDeleted, *eventsv2.UserDeleted](nil),
		Upcast(func(_ bus.Event, m *eventsv1.User) (*eventsv1.User, error) { return m, nil }),
		Any(func(context.Context, Tx, []bus.Event) error { return nil }), // it takes what came, and nothing converted
	)
	if err == nil {
		t.Fatal("New took upcasters that are wrong everywhere")
	}
	for _, want := range []string{
		"type users.events.v1.UserCreated has two upcasters",
		"upcaster of type users.events.v1.UserCreated leads to type users.events.v2.UserCreated, which no On, Batch or After takes",
		"type users.events.v1.UserUpdated has both a route and an upcaster",
		"upcaster of type google.protobuf.BoolValue leads in a circle", "upcaster of type google.protobuf.BytesValue leads in a circle",
		"Upcast: the handler is nil", "upcaster of type users.events.v1.UserDeleted leads to type users.events.v2.UserDeleted",
		"upcaster of type users.events.v1.User leads in a circle",
	} {
		if n := strings.Count(err.Error(), want); n != 1 {
			t.Errorf("the error says %d times %q", n, want)
		}
	}
	if t.Failed() {
		t.Logf("it says: %v", err)
	}
	_, err = New(Config{Group: "g", Topics: []string{topic}, DB: newDB(t)}, On(takeV2[*eventsv2.UserCreated]), On(takeV3), Upcast(upV3))
	if err == nil || !strings.Contains(err.Error(), "users.events.v2.UserCreated has both") {
		t.Errorf("a type in the middle has a route: %v", err)
	}
}

func TestTypesAreThoseThatAreRead(t *testing.T) {
	nothing := func(context.Context, Tx, []bus.Event) error { return nil }
	for _, tt := range []struct {
		routes []Route
		want   []string
	}{
		{readsBoth(), []string{"users.events.v1.UserCreated", "users.events.v1.UserUpdated", "users.events.v2.UserCreated", "users.events.v2.UserUpdated"}},
		{[]Route{Any(nothing)}, []string{"*"}},
		{[]Route{Batch(nothing, &eventsv2.UserCreated{}, &eventsv1.User{}), Any(nothing)},
			[]string{"users.events.v1.User", "users.events.v2.UserCreated", "*"}},
		{[]Route{On(takeV3), Upcast(upV3), Upcast(upCreated)},
			[]string{"google.protobuf.StringValue", "users.events.v1.UserCreated", "users.events.v2.UserCreated"}},
	} {
		in := mustNew(t, config(t, newDB(t)), tt.routes...)
		if got := in.Types(); !slices.Equal(got, tt.want) {
			t.Errorf("types %v, want %v", got, tt.want)
		}
	}
}

// A log of three versions, in which each reads what it can and converts the rest.
func TestAChainOfUpcastersEndsAtTheNewest(t *testing.T) {
	in, l := mustNew(t, config(t, newDB(t)), On(takeV3), Upcast(upCreated), Upcast(upV3)), newTape(t, 1)
	l.put(0, created(t, "a", 1, "Ann"), twins(t, "b", 1, "Bob")[0], event(t, "c", 1, wrapperspb.String("Cid")))
	l.all(in)
	wantApplied(t, in, "a:1 v3 Ann from users.events.v1.UserCreated", "b:1 v3 Bob from users.events.v2.UserCreated", "c:1 v3 Cid")
}

// strange is an event with a field that this program doesn't know, and an extension.
func strange(t testing.TB, e bus.Event) bus.Event {
	t.Helper()
	e.Data = protowire.AppendString(protowire.AppendTag(slices.Clone(e.Data), 999, protowire.BytesType), "kept")
	e.Ext, e.DataType = map[string]string{"traceparent": "00-1"}, bus.TypeProtobuf
	return e
}

func TestOnGetsTheEventAsItCame(t *testing.T) {
	want := strange(t, created(t, "a", 1, "Ann"))
	var got bus.Event
	in, l := mustNew(t, config(t, newDB(t)), Upcast(upCreated),
		On(func(_ context.Context, _ Tx, e bus.Event, m *eventsv2.UserCreated) error {
			if m.GetUser().GetName().GetGiven() != "Ann" {
				t.Errorf("message %v", m)
			}
			got = e
			return nil
		})), newTape(t, 1)
	l.put(0, want)
	l.all(in)
	want.At = l.parts[0][0].At
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestABatchGetsWhatWasConvertedOnce(t *testing.T) {
	var conversions int
	var last []bus.Event
	poison := "b:1"
	batch := func(_ context.Context, _ Tx, events []bus.Event) error {
		last = slices.Clone(events)
		for _, e := range events {
			if fmt.Sprintf("%s:%d", e.Key, e.Version) == poison {
				return errTest // which names none: halves are tried
			}
		}
		return nil
	}
	in, l := mustNew(t, config(t, newDB(t)), Batch(batch, &eventsv2.UserCreated{}, &eventsv2.UserUpdated{}),
		Upcast(func(e bus.Event, m *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
			conversions++
			return upCreated(e, m)
		})), newTape(t, 1)
	want := strange(t, created(t, "a", 1, "Ann"))
	l.put(0, want, created(t, "b", 1, "Bob"), created(t, "c", 1, "Cid"), twins(t, "d", 1, "Dan")[0])
	l.all(in)
	if conversions != 6 { // of one attempt that was rolled back whole, and of the one that sifts
		t.Errorf("%d conversions of 3 events in 2 attempts", conversions)
	}
	wantParked(t, in, "parked b:1 1 retried test error")
	if !slices.ContainsFunc(last, func(e bus.Event) bool { return e.Key == "d" && e.Type == "users.events.v2.UserCreated" }) {
		t.Errorf("the last batch was %v", last)
	}
	var raw []byte
	if err := in.cfg.DB.QueryRow(`SELECT raw FROM tidings_inbox_parked`).Scan(&raw); err != nil {
		t.Fatal(err)
	}
	if e, err := bus.ParseEnvelope(raw); err != nil || e.Type != "users.events.v1.UserCreated" {
		t.Errorf("what is parked is a %s: %v", e.Type, err)
	}

	poison = ""
	l.put(0, strange(t, created(t, "e", 1, "Eve")))
	l.all(in)
	got := last[0]
	m, err := bus.Decode[*eventsv2.UserCreated](got)
	if err != nil || m.GetUser().GetName().GetGiven() != "Eve" {
		t.Errorf("the batch got %v, %v", m, err)
	}
	came := l.parts[0][4]
	came.Type, came.DataType, came.Data = got.Type, "", got.Data
	if diff := cmp.Diff(came, got); diff != "" {
		t.Errorf("of all else something differs: %s", diff)
	}
}

// An old event and a new one of one key go to one route, in order.
func TestTheOrderWithinAKeyHoldsAcrossTypesThatAreConverted(t *testing.T) {
	batch := func(ctx context.Context, tx Tx, events []bus.Event) error {
		for i := range events {
			if err := insert(ctx, tx, &events[i], "batch"); err != nil {
				return err
			}
		}
		return nil
	}
	in, l := mustNew(t, config(t, newDB(t)), Batch(batch, &eventsv2.UserCreated{}), On(takeV2[*eventsv2.UserUpdated]),
		Upcast(upCreated), Upcast(upUpdated)), newTape(t, 1)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "A"), event(t, "a", 3, &eventsv2.UserCreated{}), updated(t, "a", 4, "A"))
	l.all(in)
	wantApplied(t, in, "a:1 batch", "a:2 v2 A", "a:3 batch", "a:4 v2 A")
}

// An upcaster's error, and its panic, are the handler's.
func TestWhatAnUpcasterCannotConvertIsParked(t *testing.T) {
	for name, tt := range map[string]struct {
		fn   func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error)
		want string
	}{
		"error": {func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error) { return nil, errTest }, "parked a:1 1 retried upcast: users.events.v1.UserCreated to users.events.v2.UserCreated: test error"},
		"permanent": {func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
			return nil, bus.Permanent(errTest)
		}, "dead a:1 1 upcast: users.events.v1.UserCreated to users.events.v2.UserCreated: test error"},
		"nil":   {func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error) { return nil, nil }, "parked a:1 1 retried upcast: users.events.v1.UserCreated to users.events.v2.UserCreated: the upcaster returned nil"},
		"panic": {func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error) { panic("broken") }, "parked a:1 1 retried panic: broken"},
		"bytes that can't be written": {func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
			return &eventsv2.UserCreated{User: &eventsv2.User{Id: "\xff"}}, nil
		}, "parked a:1 1 retried "},
	} {
		for kind, route := range map[string]Route{
			"On": On(takeV2[*eventsv2.UserCreated]),
			"Batch": Batch(func(ctx context.Context, tx Tx, events []bus.Event) error {
				return errors.Join(insert(ctx, tx, &events[0], "v2 "), nil)
			}, &eventsv2.UserCreated{}),
		} {
			if kind == "On" && strings.HasPrefix(name, "bytes") {
				continue // nobody writes them
			}
			t.Run(name+kind, func(t *testing.T) {
				c, cfg := newClock(), config(t, newDB(t))
				c.config(&cfg)
				fn := tt.fn
				up := Upcast(func(e bus.Event, m *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
					if e.Key == "a" {
						return fn(e, m)
					}
					return upCreated(e, m)
				})
				in, l := mustNew(t, cfg, route, up), newTape(t, 1)
				l.put(0, created(t, "a", 1, ""), created(t, "b", 1, ""))
				l.all(in)
				wantApplied(t, in, "b:1 v2 ")
				var state, why string
				if err := cfg.DB.QueryRow(`SELECT state, error FROM tidings_inbox_parked`).Scan(&state, &why); err != nil {
					t.Fatal(err)
				}
				if got := status(t, in); got.Parked != 1 || !strings.HasPrefix(tt.want, state) || !strings.HasSuffix(tt.want, why) && name[0] != 'b' {
					t.Errorf("parked as %s, %q; want %q", state, why, tt.want)
				}
				if fn = upCreated; state == stateParked {
					retry(t, in, c)
					wantParked(t, in)
				}
			})
		}
	}
}

// Data that is no Old is dead at once, as for a handler of Old.
func TestAnUpcasterNeedsItsMessage(t *testing.T) {
	in, l := mustNew(t, config(t, newDB(t)), readsBoth()...), newTape(t, 1)
	broken := created(t, "a", 1, "")
	broken.Data = []byte{0xff}
	l.put(0, broken)
	l.all(in)
	wantStatus(t, in, Status{Keys: 1, Versions: 1, Parked: 1, Dead: 1})
}

// A reaction has the event as it came; its tracker reads the same message.
func TestAReactionAndItsTrackerReadTheSame(t *testing.T) {
	cfg := config(t, newDB(t))
	up := []Route{Upcast(upCreated), Upcast(upV3)}
	var said []string
	after := After(func(_ context.Context, e bus.Event, m *wrapperspb.StringValue) error {
		said = append(said, e.Type+" "+m.GetValue())
		return bus.RetryAfter(0, errTest)
	}, Track(func(_ context.Context, _ Tx, e bus.Event, p Progress) error {
		m, err := Read[*wrapperspb.StringValue](e, up...)
		said = append(said, string(p.State)+" "+m.GetValue())
		return err
	}))
	cfg.Attempts = 1
	in, l := mustNew(t, cfg, append(up, after)...), newTape(t, 1)
	l.put(0, created(t, "a", 1, "Ann"))
	l.all(in)
	(&performer{Inbox: in, owner: uuid.NewString()}).step(t)
	const m = " Ann from users.events.v1.UserCreated"
	if diff := cmp.Diff([]string{"queued" + m, "sending" + m, "users.events.v1.UserCreated" + m, "dead" + m}, said); diff != "" {
		t.Error(diff)
	}
}

// Run converts concurrently for as many reactions as it performs.
func TestRunPerformsWhatIsConverted(t *testing.T) {
	in, rec := mustNew(t, config(t, newDB(t)), After(func(context.Context, bus.Event, *wrapperspb.StringValue) error { return nil }),
		Upcast(upCreated), Upcast(upV3)), newRecorder(t)
	for i := range 50 {
		publish(t, rec, twins(t, fmt.Sprint("k", i), 1, "Ann")...)
	}
	run(t, in, rec)
	eventually(t, func() string {
		if s := status(t, in); s.Keys != 50 || s.Queue > 0 {
			return fmt.Sprintf("status %+v after %v", s, soon)
		}
		return ""
	})
}

func TestReadIsDecodeWhereNothingIsConverted(t *testing.T) {
	old, now := created(t, "a", 1, "Ann"), twins(t, "a", 1, "Ann")[0]
	if m, err := Read[*eventsv2.UserCreated](now, Upcast(upCreated), On(takeV3)); err != nil || m.GetUser().GetName().GetGiven() != "Ann" {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := Read[*eventsv1.UserCreated](old, Upcast(upCreated)); err != nil || m.GetUser().GetName() != "Ann" {
		t.Errorf("%v, %v", m, err)
	}
	for name, err := range map[string]error{
		"without an upcaster": second(Read[*eventsv2.UserCreated](old)),
		"another's upcaster":  second(Read[*eventsv2.UserUpdated](old, Upcast(upCreated))),
	} {
		if !bus.IsPermanent(err) || !strings.Contains(err.Error(), "users.events.v1.UserCreated") {
			t.Errorf("%s: %v", name, err)
		}
	}
	failing := Upcast(func(bus.Event, *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
		return nil, bus.RetryAfter(time.Minute, errTest)
	})
	if err := second(Read[*eventsv2.UserCreated](old, failing)); !errors.Is(err, errTest) || bus.IsPermanent(err) {
		t.Errorf("error %v", err)
	}
}

func second[M proto.Message](_ M, err error) error { return err }

// A handler owns the message that it gets: what it does to it is undone with all else when the event is tried again.
func TestAMessageThatWasChangedIsConvertedAnew(t *testing.T) {
	in, l := mustNew(t, config(t, newDB(t)), Upcast(upCreated),
		On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv2.UserCreated) error {
			if e.Key == "b" {
				return errTest
			}
			m.User.Name.Given += "!"
			return insert(ctx, tx, &e, m.GetUser().GetName().GetGiven())
		})), newTape(t, 1)
	l.put(0, created(t, "a", 1, "Ann"), created(t, "b", 1, "Bob"))
	l.all(in)
	wantApplied(t, in, "a:1 Ann!")
}
