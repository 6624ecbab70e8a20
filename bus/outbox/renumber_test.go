package outbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func TestNumbersBeginWhenTheBusIsSwapped(t *testing.T) {
	o, rec, p := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder(), newPubsub()
	swap := func(b bus.Bus, events ...bus.Event) {
		t.Helper()
		add(t, o, events...)
		stop := relaying(t, o, b)
		drained(t, o)
		stop()
	}
	swap(rec, event("a", 1), event("a", 2))
	swap(p, event("a", 3), event("a", 4))
	swap(rec, event("a", 5))
	swap(p, event("a", 6))
	if got := ids(p.events()); !slices.Equal(got, []string{"a-3 #1", "a-4 #2", "a-6 #3"}) {
		t.Errorf("published %q", got)
	}
	for _, e := range rec.Published(topic) {
		if e.Seq != 0 {
			t.Errorf("%s has a number in a log", e.ID)
		}
	}
	numberings(t, p.all())
}

func TestNumbersBeginAnewWhereTheBusIsSwappedUndrained(t *testing.T) {
	o, rec, p := newOutbox(t, openDB(t, newFile(t)), WithStream(topic, "/others")), bustest.NewRecorder(), newPubsub()
	o.pace.beat = 5 * time.Millisecond
	drain := func(b bus.Bus) {
		t.Helper()
		stop := relaying(t, o, b)
		drained(t, o)
		stop()
	}
	add(t, o, event("a", 1), from("/others", "x", 1))
	drain(p)
	before, others := stream(t, o, topic, "/things"), stream(t, o, topic, "/others")
	p.refuse(func(string, bus.Event) error { return errors.New("away") })
	add(t, o, event("a", 2), event("b", 1))
	stop := relaying(t, o, p)
	eventually(t, "the numbers", func() bool { return stream(t, o, topic, "/things").Seq == 3 })
	stop() // two are numbered, and go out over a log
	drain(rec)
	if got := rec.Published(topic); len(got) != 2 || got[0].Seq != 0 || got[1].Seq != 0 {
		t.Errorf("over the log %q", ids(got))
	}
	p.refuse(nil)
	back := newPubsub()
	stop = relaying(t, o, back)
	eventually(t, "a heartbeat", func() bool { return len(back.all()) >= 2 })
	stop()
	for _, e := range back.all() {
		h, _ := e.Heartbeat()
		if h.Source == "/things" && (h.Seq != 0 || h.SeqLog == before.SeqLog) {
			t.Errorf("%+v counts what went over the log", h)
		}
		if h.Source == "/others" && (h.Seq != 1 || h.SeqLog != others.SeqLog) {
			t.Errorf("%+v: all of it had been sent, as %+v", h, others)
		}
	}
	add(t, o, event("a", 3))
	drain(back)
	if got := ids(back.events()); !slices.Equal(got, []string{"a-3 #1"}) {
		t.Errorf("back %q", got)
	}
	numberings(t, slices.DeleteFunc(back.all(), func(e bus.Event) bool { return e.Source == "/others" }))
}

// numbered leaves an event that has a number and is unsent.
func numbered(t *testing.T, o *Outbox) {
	t.Helper()
	p := newPubsub()
	p.refuse(func(string, bus.Event) error { return errors.New("away") })
	add(t, o, event("a", 1))
	stop := relaying(t, o, p)
	eventually(t, "a number", func() bool { return stream(t, o, topic, "/things").Seq == 1 })
	stop()
}

func TestNothingGoesOutBeforeNumbersAreTakenBack(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	numbered(t, o)
	before := stream(t, o, topic, "/things")
	rename(t, o, "tidings_outbox_stream", "gone")
	relaying(t, o, rec)
	eventually(t, "the database's fault", func() bool { return strings.Contains(logged(o), "can't be read or written") })
	if n := count(t, o.db, `SELECT count(*) FROM tidings_outbox_seq`); n != 1 || len(rec.Published(topic)) > 0 {
		t.Errorf("%d numbers are left, published %q", n, ids(rec.Published(topic)))
	}
	rename(t, o, "gone", "tidings_outbox_stream")
	drained(t, o)
	if s := stream(t, o, topic, "/things"); s.Seq != 0 || s.SeqLog == before.SeqLog {
		t.Errorf("%+v, before %+v", s, before)
	}
}

func TestRelayWithoutItsLeaseTakesNoNumbersBack(t *testing.T) {
	o := newOutbox(t, openDB(t, newFile(t)))
	numbered(t, o)
	before := stream(t, o, topic, "/things")
	r, ctx := leading(t, o, bustest.NewRecorder())
	rob(t, o, "thief")
	if _, err := r.turn(ctx); !errors.Is(err, errLost) || context.Cause(ctx) != errLost {
		t.Errorf("error %v, cause %v", err, context.Cause(ctx))
	}
	if s := stream(t, o, topic, "/things"); s != before {
		t.Errorf("%+v, before %+v", s, before)
	}
}
