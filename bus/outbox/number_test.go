package outbox

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// from makes version v of a key of another source than event does.
func from(source, key string, v int) bus.Event {
	e := event(key, v)
	e.Source = source
	e.ID = source + e.ID
	return e
}

// stream is what the status says of a stream; zero where it says nothing.
func stream(t testing.TB, o *Outbox, topic, source string) Stream {
	t.Helper()
	for _, s := range status(t, o).Streams {
		if s.Topic == topic && s.Source == source {
			return s
		}
	}
	return Stream{}
}

// leading makes a relay that has the lease and makes its passes when the test says so.
func leading(t testing.TB, o *Outbox, b bus.Bus) (*relay, context.Context) {
	t.Helper()
	r := newRelay(o, b, t.Name())
	if err := r.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r.lost = cancel
	t.Cleanup(func() { cancel(nil) })
	return r, ctx
}

// pass is one turn of the loop in run.
func pass(t testing.TB, ctx context.Context, r *relay) {
	t.Helper()
	if _, err := r.turn(ctx); err != nil {
		t.Fatal(err)
	}
	r.held.end(time.Now())
}

func TestEventsAreNumberedPerTopicAndSource(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t))), newPubsub()
	for v := 1; v <= 150; v++ {
		add(t, o, event("a", v), event("b", v), from("/others", "a", v))
		if err := addTo(t.Context(), o, "elsewhere", event("a", v)); err != nil {
			t.Fatal(err)
		}
	}
	relaying(t, o, p)
	drained(t, o)
	want := map[streamKey]int{{topic, "/things"}: 300, {topic, "/others"}: 150, {"elsewhere", "/things"}: 150}
	logs := make(map[string]bool)
	for k, n := range numberings(t, p.all()) {
		if len(n.byID) != want[k] {
			t.Errorf("%v has %d events, want %d", k, len(n.byID), want[k])
		}
		s := stream(t, o, k.topic, k.source)
		if int(s.Seq) != want[k] || s.SeqLog != n.log || len(s.SeqLog) != len(seqLogRoom) {
			t.Errorf("status %+v, published %q", s, n.log)
		}
		logs[n.log] = true
	}
	if len(logs) != 3 {
		t.Errorf("%d numberings for three streams", len(logs))
	}
	last := make(map[streamKey]uint64)
	for _, e := range p.events() { // nothing failed, so the order is that of the positions
		k := streamKey{e.At.Topic, e.Source}
		if e.Seq != last[k]+1 {
			t.Fatalf("%v: number %d after %d", k, e.Seq, last[k])
		}
		last[k] = e.Seq
	}
}

func TestADurableBusHasNoNumbers(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db, WithStream(topic, "/things")), bustest.NewRecorder()
	o.pace.beat = time.Millisecond
	add(t, o, event("a", 1), event("a", 2))
	relaying(t, o, rec)
	drained(t, o)
	published(t, rec, 2)
	for _, e := range rec.Published(topic) {
		if e.Seq != 0 || e.SeqLog != "" || e.Type == bus.TypeHeartbeat {
			t.Errorf("published %+v", e)
		}
	}
	if n := count(t, db, `SELECT count(*) FROM tidings_outbox_seq`); n != 0 {
		t.Errorf("%d numbers are stored", n)
	}
	if n := count(t, db, `SELECT count(*) FROM tidings_outbox_sent WHERE heard = -1`); n != 2 {
		t.Errorf("of %d rows it is not known how many heard them", n)
	}
	if s := status(t, o); s.Unheard != 0 || len(s.Streams) != 1 || s.Streams[0].Seq != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNumbersOfTheCallerAreNotStored(t *testing.T) {
	o, p, rec := newOutbox(t, openDB(t, newFile(t))), newPubsub(), bustest.NewRecorder()
	given := event("a", 1)
	given.Seq, given.SeqLog, given.Heard = 77, "mine", 5
	add(t, o, given)
	if given.Seq != 77 {
		t.Error("Add has changed the caller's event")
	}
	var envelope []byte
	if err := o.db.QueryRow(`SELECT envelope FROM tidings_outbox`).Scan(&envelope); err != nil {
		t.Fatal(err)
	}
	if e, err := bus.ParseEnvelope(envelope); err != nil || e.Seq != 0 || e.SeqLog != "" {
		t.Errorf("stored %+v, %v", e, err)
	}
	stop := relaying(t, o, p)
	drained(t, o)
	stop()
	if e := p.events()[0]; e.Seq != 1 || e.SeqLog == "mine" {
		t.Errorf("published %+v", e)
	}
	// A release before this one stored what it was given.
	old := event("a", 2)
	old.Seq, old.SeqLog = 78, "mine"
	add(t, o, old)
	if _, err := o.db.Exec(`UPDATE tidings_outbox SET envelope = $1 WHERE id = $2`, old.AppendEnvelope(nil), old.ID); err != nil {
		t.Fatal(err)
	}
	relaying(t, o, rec)
	published(t, rec, 1)
	if e := rec.Published(topic)[0]; e.Seq != 0 || e.SeqLog != "" {
		t.Errorf("published %+v", e)
	}
}

func TestHeldBackEventsTakeNoNumberUntilTheyAreSent(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t))), newPubsub()
	r, ctx := leading(t, o, p)
	no := errors.New("no")
	p.refuse(func(_ string, e bus.Event) error {
		if isDead(e.Key) {
			return no
		}
		return nil
	})
	add(t, o, event("a", 1), event("dead", 1), event("b", 1), event("dead", 2))
	pass(t, ctx, r) // all four were tried
	add(t, o, event("dead", 3), event("a", 2))
	r.topics.topics[topic].due = time.Now().Add(time.Hour)
	pass(t, ctx, r)
	want := []string{"a-1 #1", "b-1 #3"}
	if got := ids(p.events()); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if s := stream(t, o, topic, "/things"); s.Seq != 4 {
		t.Errorf("%d numbers were given out for four events that were tried", s.Seq)
	}
	p.refuse(nil)
	r.topics.topics[topic].due = time.Time{}
	pass(t, ctx, r)
	want = append(want, "dead-1 #2", "dead-2 #4", "dead-3 #5", "a-2 #6")
	if got := ids(p.events()); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	numberings(t, p.all())
}

func TestRowThatCantBeSentTakesNoNumber(t *testing.T) {
	db := openDB(t, newFile(t))
	o, p := newOutbox(t, db), newPubsub()
	add(t, o, event("a", 1), event("a", 2), event("b", 1), event("c", 1), event("d", 1))
	noKey := event("b", 1)
	noKey.Key = ""
	large := event("c", 1) // fits, but for the id of a numbering
	large.Data = make([]byte, bus.MaxEventBytes-large.Size()-10)
	if err := large.Validate(); err != nil {
		t.Fatal(err)
	}
	for id, envelope := range map[string][]byte{"a-2": []byte("nonsense"), "b-1": noKey.AppendEnvelope(nil), "c-1": large.AppendEnvelope(nil)} {
		if _, err := db.Exec(`UPDATE tidings_outbox SET envelope = $1 WHERE id = $2`, envelope, id); err != nil {
			t.Fatal(err)
		}
	}
	relaying(t, o, p)
	s := drained(t, o)
	if got := ids(p.events()); !slices.Equal(got, []string{"a-1 #1", "d-1 #2"}) || s.Failed != 3 || s.Sent != 2 {
		t.Errorf("published %q, %+v", got, s)
	}
	if err := addTo(t.Context(), o, topic, large); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("Add leaves no room for the numbering: %v", err)
	}
}

func TestPurgeTakesTheNumbersToo(t *testing.T) {
	var c clock
	db := openDB(t, newFile(t))
	o, p := newOutbox(t, db, WithKeep(time.Hour)), newPubsub()
	o.now, o.pace.purgeStep = c.now, 10
	addEvents(t, o, 1, 45)
	stop := relaying(t, o, p)
	drained(t, o)
	stop()
	c.turn(2 * time.Hour)
	addEvents(t, o, 46, 50)
	stop = relaying(t, o, p) // purges at its start, and may be before these were sent
	drained(t, o)
	eventually(t, "the purge", func() bool { events, _ := rows(t, o); return events == 5 })
	stop()
	if n := count(t, db, `SELECT count(*) FROM tidings_outbox_seq WHERE seq BETWEEN 46 AND 50`); n != 5 {
		t.Errorf("%d of the last five numbers are left", n)
	}
	if n := count(t, db, `SELECT count(*) FROM tidings_outbox_seq`); n != 5 {
		t.Errorf("%d numbers are left", n)
	}
	addEvents(t, o, 51, 55)
	relaying(t, o, p)
	drained(t, o)
	if n := numberings(t, p.all())[streamKey{topic, "/things"}]; n.highest != 55 {
		t.Errorf("numbered up to %d", n.highest)
	}
}

func TestUnheardEventsAreCounted(t *testing.T) {
	db := openDB(t, newFile(t))
	o, p := newOutbox(t, db), newPubsub()
	relaying(t, o, p)
	for heard, versions := range map[int][2]int{0: {1, 30}, 3: {31, 50}} {
		p.listeners(heard)
		addEvents(t, o, versions[0], versions[1])
		drained(t, o)
	}
	if s := status(t, o); s.Unheard != 30 || s.Sent != 50 {
		t.Errorf("%+v", s)
	}
	for heard, want := range map[int]int{0: 30, 3: 20} {
		if n := count(t, db, `SELECT count(*) FROM tidings_outbox_sent WHERE heard = $1`, heard); n != want {
			t.Errorf("%d rows were heard by %d, want %d", n, heard, want)
		}
	}
}

func TestAnEventIsCountedOnceAsUnheard(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t))), newPubsub()
	p.listeners(0)
	addEvents(t, o, 1, 250)
	r, ctx := leading(t, o, p)
	b, err := r.read(ctx, 0, 240, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.send(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	pass(t, ctx, r) // marks all 250
	for range 2 {   // and these are marked by one that comes late, and comes again
		if err := r.mark(ctx, outcome{sent: slices.Clone(out.sent)}); err != nil {
			t.Fatal(err)
		}
	}
	if s := status(t, o); s.Unheard != 250 || s.Sent != 250 || s.Pending != 0 {
		t.Errorf("%+v", s)
	}
}
