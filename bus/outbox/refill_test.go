package outbox

import (
	"slices"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// inLead is a relay that has the lease and does nothing.
func inLead(t *testing.T, o *Outbox, b bus.Bus) *relay {
	t.Helper()
	r := newRelay(o, b, "lead")
	r.lost = func(error) {}
	if err := r.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// aRefill is a partition of which the first 40 of 100 rows stand in front of the old end. 10 of them are below where a look begins.
func aRefill(t *testing.T) (*Outbox, logPart, refill) {
	t.Helper()
	o, rec := quick(t), bustest.NewRecorder(bustest.WithPartitions(1))
	stop := relaying(t, o, rec)
	addEvents(t, o, 1, 100)
	drained(t, o)
	stop()
	p := logPart{topic: topic, log: rec.Published(topic)[0].At.Log}
	return o, p, refill{from: 0, to: 40, low: 11}
}

func storedRefill(t *testing.T, o *Outbox, p logPart, f refill) {
	t.Helper()
	_, err := o.db.ExecContext(t.Context(), `UPDATE tidings_outbox_log SET refill_from = $1, refill_to = $2, refill_low = $3
		WHERE topic = $4`, f.from, f.to, f.low, p.topic)
	if err != nil {
		t.Fatal(err)
	}
}

func TestFillGoesThroughWhatWasMarkedSinceTheLastLook(t *testing.T) {
	o, p, f := aRefill(t)
	storedRefill(t, o, p, f)
	r := inLead(t, o, bustest.NewRecorder())
	if n, full, err := r.refillPart(t.Context(), p, f, 100); n != 30 || full || err != nil {
		t.Errorf("%d sent again, done: %v, %v", n, full, err)
	}
	all, err := r.readRefills(t.Context())
	if err != nil || all[p] != (refill{0, 40, 0}) {
		t.Errorf("%v, %v", all, err)
	}
	// Nothing was marked since: there is nothing to look at, although the log has not grown yet.
	if n, full, err := r.refillPart(t.Context(), p, all[p], 39); n != 0 || full || err != nil {
		t.Errorf("%d sent again, done: %v, %v", n, full, err)
	}
	sent := []sentRow{{position: 15, at: bus.Position{Topic: p.topic, Log: p.log, Offset: 107}},
		{position: 17, at: bus.Position{Topic: p.topic, Log: p.log, Offset: 30}}}
	if err := r.mark(t.Context(), outcome{sent: sent}); err != nil {
		t.Fatal(err)
	}
	if all, err = r.readRefills(t.Context()); err != nil || all[p].low != 15 {
		t.Errorf("%v, %v", all, err)
	}
	if n, _, err := r.refillPart(t.Context(), p, all[p], 108); n != 1 || err != nil {
		t.Errorf("%d sent again, %v", n, err)
	}
}

func TestFillIsNoWalkThroughAllThatWasSent(t *testing.T) {
	o, _, _ := aRefill(t)
	steps := plan(t, o.db, `SELECT min(position), max(position) FROM tidings_outbox_sent
		WHERE log = $1 AND part = $2 AND off >= $3 AND off < $4 AND position >= $5`, "", 0, 0, 0, 0)
	if !slices.Contains(steps, "SEARCH tidings_outbox_sent USING INTEGER PRIMARY KEY (rowid>?)") {
		t.Errorf("%q", steps)
	}
}

// A relay that was paused must not end what its successor has begun.
func TestFillIsEndedByTheRelayThatLeads(t *testing.T) {
	o, p, f := aRefill(t)
	f.low = 0
	r := inLead(t, o, bustest.NewRecorder())
	storedRefill(t, o, p, refill{0, 90, 0}) // a cut was found since
	if _, _, err := r.refillPart(t.Context(), p, f, 100); err != nil {
		t.Fatal(err)
	}
	rob(t, o, "somebody else")
	if _, _, err := r.refillPart(t.Context(), p, refill{0, 90, 0}, 100); err == nil {
		t.Error("it goes on without its lease")
	}
	if all, err := r.readRefills(t.Context()); err != nil || all[p] != (refill{0, 90, 0}) {
		t.Errorf("%v, %v", all, err)
	}
}

// Where two owners write to a topic, a reader may stand behind the other one's events, which this relay never wrote.
func TestReaderBehindAnotherOwnersEventsMissesNothing(t *testing.T) {
	o, rec := quick(t), bustest.NewRecorder(bustest.WithPartitions(1))
	stop := relaying(t, o, rec)
	addEvents(t, o, 1, 10)
	drained(t, o)
	for i := range 10 {
		putForeign(rec, event("other", i+1))
	}
	place := ends4(t, rec)[0] // of a reader that has everything
	eventually(t, "a look", func() bool { return count(t, o.db, `SELECT max(seen) FROM tidings_outbox_log`) == int(place) })
	stop()
	rec.Shorten(topic, 0, 5)
	addEvents(t, o, 11, 12)
	o.pace.slack = 0
	relaying(t, o, rec)
	eventually(t, "both new events behind the reader's place", func() bool {
		var read []string
		for i, e := range inLog(t, rec) {
			if int64(i) >= place {
				read = append(read, e.ID)
			}
		}
		return slices.Contains(read, "a-11") && slices.Contains(read, "a-12")
	})
	eventually(t, "an end of that", func() bool { return count(t, o.db, `SELECT count(*) FROM tidings_outbox_log WHERE refill_to > 0`) == 0 })
}

// Nothing is written for a look at a log in which there is nothing of others.
func TestLookAtALogOfOneOwnerStoresNothing(t *testing.T) {
	o, rec := quick(t), bustest.NewRecorder()
	in := &asking{Bus: rec}
	relaying(t, o, in)
	addEvents(t, o, 1, 10)
	drained(t, o)
	asked := in.n.Load()
	eventually(t, "some looks", func() bool { return in.n.Load() > asked+3 })
	if n := count(t, o.db, `SELECT count(*) FROM tidings_outbox_log WHERE seen > 0`); n != 0 {
		t.Errorf("%d are stored", n)
	}
}
