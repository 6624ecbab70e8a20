package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// addTwins commits versions from to of some keys, each told twice, and adds the ids to want, in the order of the key.
func addTwins(t testing.TB, o *Outbox, want map[string][]string, from, to, keys int) {
	t.Helper()
	for v := from; v <= to; v++ {
		var events []bus.Event
		for k := range keys {
			key := fmt.Sprint("k", k)
			twins, err := bus.NewTwins("/users", key, uint64(v), &eventsv2.UserUpdated{}, &eventsv1.UserUpdated{})
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, twins...)
			want[key] = append(want[key], twins[0].ID, twins[1].ID)
		}
		add(t, o, events...)
	}
}

// firsts are the ids of each key in the order in which they stand there for the first time.
func firsts(events []bus.Event) map[string][]string {
	all := make(map[string][]string)
	for _, e := range events {
		if !slices.Contains(all[e.Key], e.ID) {
			all[e.Key] = append(all[e.Key], e.ID)
		}
	}
	return all
}

// wantTwins waits until the events are those wanted, each key's in order.
func wantTwins(t testing.TB, want map[string][]string, read func() []bus.Event) {
	t.Helper()
	var got map[string][]string
	sum := func(all map[string][]string) (n int) {
		for _, ids := range all {
			n += len(ids)
		}
		return n
	}
	eventually(t, "all twins", func() bool { got = firsts(read()); return sum(got) == sum(want) })
	for key, ids := range want {
		if !slices.Equal(got[key], ids) {
			t.Errorf("key %s: the events stand in the order\n%v, want\n%v", key, got[key], ids)
		}
	}
}

// Two events of one key and version are two events, and the best stays the first.
func TestTwinsArePublishedInTheirOrder(t *testing.T) {
	o, rec, want := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder(), make(map[string][]string)
	addTwins(t, o, want, 1, 3, 61) // more than one statement's rows
	relaying(t, o, rec)
	s := drained(t, o)
	wantTwins(t, want, func() []bus.Event { return rec.Published(topic) })
	if n := 3 * 61 * 2; s.Sent != int64(n) || len(rec.Published(topic)) != n {
		t.Errorf("%d sent and %d published, want %d", s.Sent, len(rec.Published(topic)), n)
	}
	for _, e := range rec.Published(topic) {
		if got := e.Alternatives(); len(got) != 2 || got[0] != "users.events.v2.UserUpdated" || !slices.Contains(got, e.Type) {
			t.Fatalf("a %s was published with the alternatives %v", e.Type, got)
		}
	}
}

// refusing is a bus that takes some events only the second time, and until then nothing more of their keys.
type refusing struct {
	bus.Bus
	mu    sync.Mutex
	tried map[string]bool // by id
	first func(e *bus.Event) bool
}

func (b *refusing) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	failed, stopped := make(map[int]error), make(map[string]bool)
	for i := range events {
		e := &events[i]
		if stopped[e.Key] || b.first(e) && !b.tried[e.ID] {
			failed[i], stopped[e.Key], b.tried[e.ID] = errors.New("refused"), true, true
			continue
		}
		if err := b.Bus.Publish(ctx, topic, events[i:i+1]...); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &bus.PublishError{Topic: topic, Failed: failed}
}

// A twin that is not acknowledged holds back the one behind it, and is not sent again with it.
func TestATwinThatFailsHoldsBackTheOther(t *testing.T) {
	for name, first := range map[string]func(*bus.Event) bool{
		"the best":  func(e *bus.Event) bool { return e.Type == "users.events.v2.UserUpdated" },
		"the other": func(e *bus.Event) bool { return e.Type == "users.events.v1.UserUpdated" },
	} {
		t.Run(name, func(t *testing.T) {
			o, rec, want := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder(), make(map[string][]string)
			addTwins(t, o, want, 1, 4, 3)
			relaying(t, o, &refusing{Bus: rec, tried: make(map[string]bool), first: first})
			drained(t, o)
			wantTwins(t, want, func() []bus.Event { return rec.Published(topic) })
			if n := len(rec.Published(topic)); n != 4*3*2 {
				t.Errorf("%d were published, some of them again", n)
			}
		})
	}
}

// What a log lacks is sent again in order, also where it was cut in the midst of twins.
func TestTwinsThatALogLacksAreSentAgainInTheirOrder(t *testing.T) {
	for name, lose := range map[string]func(*bustest.Recorder){
		"a topic made anew":          func(r *bustest.Recorder) { r.DeleteTopic(topic); putForeign(r, event("other", 1)) },
		"a log cut between twins":    func(r *bustest.Recorder) { r.Shorten(topic, 0, 21) },
		"a log cut between versions": func(r *bustest.Recorder) { r.Shorten(topic, 0, 24) },
	} {
		t.Run(name, func(t *testing.T) {
			o, rec, want := quick(t), bustest.NewRecorder(bustest.WithPartitions(1)), make(map[string][]string)
			stop := relaying(t, o, rec)
			addTwins(t, o, want, 1, 10, 2)
			drained(t, o)
			stop()
			lose(rec)
			o.pace.slack, o.pace.resendStep = 0, 3 // which divides no pair
			addTwins(t, o, want, 11, 12, 2)
			relaying(t, o, rec)
			wantTwins(t, want, func() []bus.Event {
				return slices.DeleteFunc(inLog(t, rec), func(e bus.Event) bool { return e.Key == "other" })
			})
			drained(t, o)
			eventually(t, "a log that is filled", func() bool {
				return count(t, o.db, `SELECT count(*) FROM tidings_outbox_log WHERE refill_to > 0`) == 0
			})
			wantTwins(t, want, func() []bus.Event {
				return slices.DeleteFunc(inLog(t, rec), func(e bus.Event) bool { return e.Key == "other" })
			})
		})
	}
}

// On a bus without a log each twin has a number of its own, in their order.
func TestTwinsAreNumberedOneByOne(t *testing.T) {
	o, p, want := newOutbox(t, openDB(t, newFile(t))), newPubsub(), make(map[string][]string)
	addTwins(t, o, want, 1, 5, 3)
	relaying(t, o, p)
	drained(t, o)
	wantTwins(t, want, p.all)
	n := numberings(t, p.all())[streamKey{topic, "/users"}]
	if len(n.byID) != 5*3*2 {
		t.Errorf("%d events have a number", len(n.byID))
	}
	for key, ids := range want {
		if !slices.IsSortedFunc(ids, func(x, y string) int { return int(n.byID[x]) - int(n.byID[y]) }) {
			t.Errorf("key %s: numbers out of order", key)
		}
	}
}
