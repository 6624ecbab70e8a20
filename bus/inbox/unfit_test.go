package inbox

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// Nothing that comes from outside may stop a partition, whatever it holds, and on whichever database; and what differs
// must not become one key.
func TestWhatNotEveryDatabaseTakesIsParked(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, created(t, "a", 1, "A"))
	var came []string
	for _, change := range []func(*bus.Event){
		func(e *bus.Event) { e.Key = "nul\x00" },
		func(e *bus.Event) { e.Key = "nul\uFFFD" }, // fits, and is not the one above
		func(e *bus.Event) { e.Source = "/nul\x00" },
		func(e *bus.Event) { e.ID = "nul\x00" },
		func(e *bus.Event) { e.Type = "nul\x00" },
		func(e *bus.Event) { e.Key = strings.Repeat("k", maxText) }, // fits
		func(e *bus.Event) { e.Key = strings.Repeat("k", maxText+1) },
		func(e *bus.Event) { e.Source = strings.Repeat("s", 1<<16) },
		func(e *bus.Event) { e.ID, e.Key = strings.Repeat("i", maxText+1), strings.Repeat("k", 1<<19) },
		func(e *bus.Event) { e.Type = strings.Repeat("é", maxText) },
	} {
		e := created(t, "b", 1, "")
		change(&e)
		l.put(0, e)
		if unfit(&e) != nil {
			came = append(came, string(e.AppendEnvelope(nil)))
		}
	}
	l.put(0, updated(t, "a", 2, "AA"))
	l.play(in, cut{0, 0, l.end(0)})
	wantApplied(t, in, "a:1 A", "nul\uFFFD:1 ", strings.Repeat("k", maxText)+":1 ", "a:2 AA")
	if s := status(t, in); s.Parked != 8 || s.Dead != 8 || s.Keys != 3 {
		t.Fatalf("status is %+v, want 8 parked as dead and 3 keys", s)
	}
	rows, err := in.cfg.DB.Query(`SELECT raw FROM tidings_inbox_parked ORDER BY off`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var kept []string
	for rows.Next() {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, string(raw))
	}
	if !slices.Equal(kept, came) {
		t.Errorf("the bytes were not kept as they came: %.99q", kept)
	}
	if err := in.handle(t.Context(), l.delivery(cut{0, 0, l.end(0)})); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestANumberingWhoseNamesNotEveryDatabaseTakesIsLeftOut(t *testing.T) {
	in, _ := newInbox(t, 0)
	for _, log := range []string{"x\x00", strings.Repeat("x", 1<<13)} {
		hear(t, in, numbered(created(t, "a", 1, ""), log, 1))
		if err := in.handle(t.Context(), bus.Delivery{Heartbeats: []bus.Heartbeat{{Topic: topic, Source: source, SeqLog: log, Seq: 9}}}); err != nil {
			t.Fatal(err)
		}
	}
	wantStreams(t, in)
	if s := status(t, in); s.Keys != 1 {
		t.Fatalf("status is %+v, want that the event was taken all the same", s)
	}
}
