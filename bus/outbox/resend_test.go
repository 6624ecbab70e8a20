package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/bustest"
)

// aged is an outbox of which the first 30 of 50 events of a key were purged, on one partition.
func aged(t *testing.T) (*Outbox, *bustest.Recorder) {
	t.Helper()
	var c clock
	o, rec := quick(t, WithKeep(time.Hour)), bustest.NewRecorder(bustest.WithPartitions(1))
	o.now, o.pace.purgeStep = c.now, 7
	stop := relaying(t, o, rec)
	addEvents(t, o, 1, 30)
	drained(t, o)
	c.turn(2 * time.Hour)
	addEvents(t, o, 31, 50)
	drained(t, o)
	stop()
	if _, err := (&relay{Outbox: o}).purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := 0 // for the relay may have purged some by itself, as it does when it begins
	if err := o.db.QueryRowContext(t.Context(), `SELECT count(*) FROM tidings_outbox_sent`).Scan(&held); held != 20 || err != nil {
		t.Fatalf("%d are held, want 20: %v", held, err)
	}
	return o, rec
}

func TestPurgedEventsThatALogLacksAreCounted(t *testing.T) {
	for _, test := range []struct {
		name    string
		lose    func(*bustest.Recorder)
		lacking int64
		lowest  int // version in the log
	}{
		{"a topic made anew", func(r *bustest.Recorder) {
			r.DeleteTopic(topic)
			putForeign(r, event("a", 31))
		}, 30, 31},
		{"a log that lost some of them", func(r *bustest.Recorder) { r.Shorten(topic, 0, 20) }, 10, 1},
		{"a log that lost none of them", func(r *bustest.Recorder) { r.Shorten(topic, 0, 40) }, 0, 1},
		{"a log that dropped them by age", func(r *bustest.Recorder) { r.Truncate(topic, 0, 30) }, 0, 31},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, rec := aged(t)
			test.lose(rec)
			stop := relaying(t, o, rec)
			eventually(t, "a whole end", func() bool {
				log := inLog(t, rec)
				return len(log) > 0 && log[0].Version == uint64(test.lowest) && log[len(log)-1].Version == 50
			})
			s := drained(t, o)
			stop()
			if s.Lacking != test.lacking || s.Lacked.IsZero() != (test.lacking == 0) || s.Sent != 50 {
				t.Errorf("%d lacking since %v, %d sent", s.Lacking, s.Lacked, s.Sent)
			}
			again := newOutbox(t, o.db)
			relaying(t, again, rec) // and it says so when it starts
			add(t, again, event("a", 51))
			drained(t, again)
			if said := strings.Contains(logged(again), "nobody new can read"); said != (test.lacking > 0) {
				t.Errorf("says so: %v", said)
			}
		})
	}
}

// Interrupted at any step, it is found again by the next relay; and nothing is sent before all of it is unsent.
func TestResendThatIsInterruptedIsTakenUp(t *testing.T) {
	o, rec, want := quick(t), bustest.NewRecorder(), make(map[string]int)
	stop := relaying(t, o, rec)
	writeAll(t, o, want, 1, 30)
	drained(t, o)
	stop()
	rec.DeleteTopic(topic)
	putForeign(rec, event("other", 1))
	o.pace.resendStep = 10
	for i := range 4 { // a step each, and then somebody takes the lease
		rob(t, o, "")
		r := newRelay(o, rec, fmt.Sprint("relay", i))
		r.lost = func(error) {}
		l := lease{holder: "", until: 0}
		if err := r.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.holder = r.holder
		ctx := t.Context()
		if _, err := r.unsendStep(ctx, `log <> $1`, []any{""}, int64(10*i), int64(10*i+10)); err != nil {
			t.Fatal(err)
		}
		rob(t, o, "somebody else")
		if _, err := r.unsendStep(ctx, `log <> $1`, []any{""}, 100, 110); err == nil {
			t.Error("it goes on without its lease")
		}
	}
	if s := status(t, o); s.Pending != 40 || s.Sent != 170 {
		t.Errorf("%+v", s)
	}
	rob(t, o, "")
	relaying(t, o, rec)
	ordered(t, whole(t, rec, want))
	if s := drained(t, o); s.Sent != 210 {
		t.Errorf("%+v", s)
	}
}

// A row may be purged by one relay while another one makes it unsent: one of the two has it, wholly.
func TestPurgeAndResendAtOnce(t *testing.T) {
	for range 3 {
		var c clock
		o, rec := quick(t, WithKeep(time.Hour)), bustest.NewRecorder()
		o.now, o.pace.purgeStep, o.pace.resendStep = c.now, 9, 7
		stop := relaying(t, o, rec)
		addEvents(t, o, 1, 200)
		drained(t, o)
		stop()
		c.turn(2 * time.Hour)
		r := newRelay(o, rec, "relay")
		r.lost = func(error) {}
		if err := r.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := (&relay{Outbox: o}).purge(context.WithoutCancel(t.Context()))
			done <- err
		}()
		_, err := r.unsend(t.Context(), `log <> $1`, "")
		if purged := <-done; err != nil || purged != nil {
			t.Fatal(err, purged)
		}
		events, sent := rows(t, o)
		unsent := count(t, o.db, `SELECT count(*) FROM tidings_outbox_unsent`)
		orphans := count(t, o.db, `SELECT count(*) FROM tidings_outbox_unsent WHERE position NOT IN (SELECT position FROM tidings_outbox)`)
		if orphans != 0 || events != unsent+sent {
			t.Errorf("%d events, %d unsent, %d sent, %d unsent without an event", events, unsent, sent, orphans)
		}
	}
}

// Whatever is done to the log, and to the relay, the log has everything in the end.
func TestWhateverHappensToTheLogItIsWholeAgain(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	o, rec, want := quick(t), bustest.NewRecorder(), make(map[string]int)
	o.pace.batch, o.pace.resendStep, o.pace.lease = 20, 30, 100*time.Millisecond
	faulty := bustest.Faults{Seed: seed, LoseAck: 0.05, RefusePublish: 0.05, RepeatPublish: 0.1}.Wrap(rec)
	stop := relaying(t, o, faulty)
	for v := 1; v <= 80; v++ {
		writeAll(t, o, want, v, v)
		switch rnd.IntN(20) {
		case 0:
			rec.DeleteTopic(topic)
		case 1, 2:
			drained(t, o) // what is on its way may stand anywhere, and be lost unseen
			for p, end := range ends4(t, rec) {
				rec.Shorten(topic, int32(p), end-rnd.Int64N(end/2+1))
			}
		case 3:
			stop()
			stop = relaying(t, o, faulty)
		case 4:
			rob(t, o, "somebody else")
		}
	}
	whole(t, rec, want)
	if s := drained(t, o); s.Sent != 7*80 || s.Lacking != 0 {
		t.Errorf("%+v", s)
	}
}
