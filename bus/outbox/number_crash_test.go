package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func TestNumberIsKeptWhenAnEventIsSentAgain(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t))), newPubsub()
	n := 0
	p.refuse(func(_ string, e bus.Event) error { // called under a lock
		switch n++; {
		case n%7 == 0:
			return fmt.Errorf("connection lost: %w", bustest.ErrStored)
		case n%11 == 0:
			return errors.New("connection refused")
		}
		return nil
	})
	o.pace.batch = 30
	relaying(t, o, p)
	for v := 1; v <= 40; v++ {
		for _, key := range keys("k", 9) {
			add(t, o, event(key, v))
		}
	}
	drained(t, o)
	if n := numberings(t, p.all())[streamKey{topic, "/things"}]; n.highest != 360 || len(p.events()) <= 360 {
		t.Errorf("numbered up to %d, %d published", n.highest, len(p.events()))
	}
}

// crashed copies a database's files as they are, which is what a process leaves that is killed at this moment.
func crashed(t *testing.T, file string) (copied string) {
	t.Helper()
	copied = filepath.Join(t.TempDir(), "crashed.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(file + suffix)
		if err == nil {
			err = os.WriteFile(copied+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

func TestNumbersOutliveACrashBeforeThePublishing(t *testing.T) {
	file := newFile(t)
	o, p := newOutbox(t, openDB(t, file)), newPubsub()
	add(t, o, event("a", 1))
	r, ctx := leading(t, o, p)
	pass(t, ctx, r)

	add(t, o, event("b", 1), from("/others", "x", 1), event("c", 1), event("b", 2))
	var left string
	lost := make(map[string]uint64) // the numbers that went out, for all that this process knows
	p.refuse(func(_ string, e bus.Event) error {
		if left == "" {
			left = crashed(t, file) // numbered, and nothing of it published
		}
		lost[e.ID] = e.Seq
		return errors.New("the process is dead")
	})
	pass(t, ctx, r)
	if len(lost) != 3 { // b-2 is not tried after b-1
		t.Fatalf("tried %v", lost)
	}

	p.refuse(nil)
	again := newOutbox(t, openDB(t, left))
	if s := stream(t, again, topic, "/things"); s.Seq != 4 {
		t.Fatalf("the crash left %+v", s)
	}
	add(t, again, event("d", 1), event("b", 3))
	relaying(t, again, p)
	drained(t, again)
	for _, e := range p.events() {
		if n, seen := lost[e.ID]; seen && n != e.Seq {
			t.Errorf("%s had the number %d and has %d", e.ID, n, e.Seq)
		}
	}
	want := []string{"a-1 #1", "b-1 #2", "/othersx-1 #1", "c-1 #3", "b-2 #4", "d-1 #5", "b-3 #6"}
	if got := ids(p.events()); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	numberings(t, p.all())
}

func TestCrashBeforeTheNumbersAreCommittedTakesNone(t *testing.T) {
	db := openDB(t, newFile(t))
	o, p := newOutbox(t, db), newPubsub()
	add(t, o, event("a", 1), event("a", 2))
	rename(t, o, "tidings_outbox_seq", "gone") // the counter is moved, and then the insert fails
	relaying(t, o, p)
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	eventually(t, "the database's fault", func() bool { return strings.Contains(logged(o), "can't be read or written") })
	rename(t, o, "gone", "tidings_outbox_seq")
	drained(t, o)
	if got := ids(p.events()); !slices.Equal(got, []string{"a-1 #1", "a-2 #2"}) {
		t.Errorf("published %q", got)
	}
}

func TestRelayWithoutItsLeaseNumbersNothing(t *testing.T) {
	o, p := newOutbox(t, openDB(t, newFile(t))), newPubsub()
	r, ctx := leading(t, o, p)
	add(t, o, event("a", 1))
	rob(t, o, "thief")
	if _, err := r.pass(ctx); !errors.Is(err, errLost) || context.Cause(ctx) != errLost {
		t.Errorf("error %v, cause %v", err, context.Cause(ctx))
	}
	if s := stream(t, o, topic, "/things"); s.Seq != 0 || len(p.events()) != 0 {
		t.Errorf("%+v, published %q", s, ids(p.events()))
	}
}

func TestTwoRelaysPublishTheSameNumber(t *testing.T) {
	file := newFile(t)
	one, two, p := newOutbox(t, openDB(t, file)), newOutbox(t, openDB(t, file)), newPubsub()
	for v := 1; v <= 300; v++ {
		add(t, one, event("a", v), event("b", v))
	}
	r, ctx := leading(t, one, p)
	first := true
	p.refuse(func(string, bus.Event) error { // the first relay is in the middle of a publish
		if first {
			first = false
			p.air.mu.Unlock() // and is paused there, while another one does all the work
			defer p.air.mu.Lock()
			rob(t, one, "")
			add(t, two, event("c", 1))
			stop := relaying(t, two, p)
			drained(t, two)
			stop()
		}
		return nil
	})
	if _, err := r.pass(ctx); err != nil {
		t.Fatal(err)
	}
	if n := numberings(t, p.all())[streamKey{topic, "/things"}]; n.highest != 601 || len(p.events()) != 1201 {
		t.Errorf("numbered up to %d, %d published", n.highest, len(p.events()))
	}
	if s := status(t, one); s.Sent != 601 || context.Cause(ctx) != errLost {
		t.Errorf("%+v, cause %v", s, context.Cause(ctx))
	}
}
