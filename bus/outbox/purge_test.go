package outbox

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// clock is a clock that a test turns.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) turn(d time.Duration) { c.ahead.Add(int64(d)) }

// rows are what the tables hold: events, and places where they were sent to.
func rows(t *testing.T, o *Outbox) (events, sent int) {
	t.Helper()
	return count(t, o.db, `SELECT count(*) FROM tidings_outbox`), count(t, o.db, `SELECT count(*) FROM tidings_outbox_sent`)
}

func addEvents(t *testing.T, o *Outbox, from, to int) {
	t.Helper()
	var events []bus.Event
	for v := from; v <= to; v++ {
		events = append(events, event("a", v))
	}
	add(t, o, events...)
}

func TestPurgeKeepsWhatIsYoungOrUnsent(t *testing.T) {
	var c clock
	o, rec := newOutbox(t, openDB(t, newFile(t)), WithKeep(time.Hour)), bustest.NewRecorder()
	o.now, o.pace.purgeEvery, o.pace.purgeStep = c.now, 5*time.Millisecond, 10
	addEvents(t, o, 1, 95)
	stop := relaying(t, o, rec)
	drained(t, o)
	stop()
	c.turn(30 * time.Minute)
	addEvents(t, o, 96, 135)
	stop = relaying(t, o, rec)
	drained(t, o)
	stop()
	addEvents(t, o, 136, 140)
	c.turn(45 * time.Minute)

	r := &relay{Outbox: o}
	if n, err := r.purge(t.Context()); n != 95 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if events, sent := rows(t, o); events != 45 || sent != 40 {
		t.Errorf("%d events and %d places are left", events, sent)
	}
	if n, err := r.purge(t.Context()); n != 0 || err != nil {
		t.Errorf("the second time %d, %v", n, err)
	}
	c.turn(24 * time.Hour)
	relaying(t, o, rec) // sends the last five, and purges by itself
	eventually(t, "the purge", func() bool { events, sent := rows(t, o); return events == 5 && sent == 5 })
	if s := status(t, o); s.Sent != 140 || s.Pending != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPurgeGoesPastWhatWasSentLate(t *testing.T) {
	var c clock
	o, rec := newOutbox(t, openDB(t, newFile(t)), WithKeep(time.Hour)), bustest.NewRecorder()
	o.now, o.pace.purgeStep = c.now, 10
	add(t, o, event("late", 1))
	addEvents(t, o, 1, 50)
	dead := &deadKeys{Bus: rec, dead: func(key string) bool { return key == "late" }}
	o.pace.patience = 300 * time.Millisecond
	stop := relaying(t, o, dead)
	eventually(t, "the others", func() bool { return status(t, o).Pending == 1 })
	stop()
	c.turn(50 * time.Minute)
	stop = relaying(t, o, rec)
	drained(t, o)
	stop()
	c.turn(15 * time.Minute)
	if n, err := (&relay{Outbox: o}).purge(t.Context()); n != 50 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if events, sent := rows(t, o); events != 1 || sent != 1 {
		t.Errorf("%d events and %d places are left", events, sent)
	}
}

func TestPositionsAreNotGivenOutTwice(t *testing.T) {
	var c clock
	o, rec := newOutbox(t, openDB(t, newFile(t)), WithKeep(time.Minute)), bustest.NewRecorder()
	o.now = c.now
	addEvents(t, o, 1, 3)
	stop := relaying(t, o, rec)
	drained(t, o)
	stop()
	c.turn(time.Hour)
	if n, err := (&relay{Outbox: o}).purge(t.Context()); n != 3 || err != nil {
		t.Fatalf("purged %d, %v", n, err)
	}
	addEvents(t, o, 4, 4)
	if n := count(t, o.db, `SELECT position FROM tidings_outbox`); n != 4 {
		t.Errorf("position %d after three were purged", n)
	}
}
