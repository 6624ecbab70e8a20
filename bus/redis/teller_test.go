package redis

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// told runs a teller while f notes things, until the end, and returns what it told.
func told(t *testing.T, topics []string, f func(te *teller, hold, free func())) []string {
	t.Helper()
	var lines []string
	var gate sync.Mutex // held up while a test notes several things
	te := newTeller(bus.Subscription{
		Topics:  topics,
		OnReady: func(ready bool) { gate.Lock(); defer gate.Unlock(); lines = append(lines, fmt.Sprint(ready)) },
		OnGap: func(_ context.Context, g bus.Gap) {
			gate.Lock()
			defer gate.Unlock()
			lines = append(lines, fmt.Sprintf("%s %d %s", g.At.Topic, g.Missed, g.Reason))
		},
	})
	done := make(chan struct{})
	go func() { defer close(done); te.run(t.Context()) }()
	f(te, gate.Lock, gate.Unlock)
	te.end()
	<-done
	return lines
}

func check(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("told\n%q\nwant\n%q", got, want)
	}
}

func TestATellerKeepsTheOrder(t *testing.T) {
	got := told(t, []string{"a", "b"}, func(te *teller, _, _ func()) {
		te.ready(true)
		te.ready(false)
		te.lost("why")
		te.ready(true)
		te.ready(false)
	})
	check(t, got, "true", "false", "a 0 why", "b 0 why", "true", "false")
}

func TestATellerAddsUpCountsAndTellsAllAtTheEnd(t *testing.T) {
	var sum uint64
	got := told(t, []string{"a", "b"}, func(te *teller, _, _ func()) {
		te.missed("a", 1, "overflow")
		for told := false; !told; { // the first is told at once; what follows has to wait
			te.mu.Lock()
			told = len(te.counts) == 0
			te.mu.Unlock()
		}
		for range 1000 {
			te.missed("a", 1, "overflow")
			te.missed("b", 2, "overflow")
		}
		te.missed("a", 5, "end")
	})
	for _, line := range got {
		var topic, reason string
		var n uint64
		if _, err := fmt.Sscan(line, &topic, &n, &reason); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum != 3006 || len(got) > 6 {
		t.Errorf("%d were told, by %q", sum, got)
	}
}

// Nobody takes what is told, for long: what waits is bounded, and what it comes to is the same.
func TestATellerThatIsHeldUpPutsNotesTogether(t *testing.T) {
	got := told(t, []string{"a"}, func(te *teller, hold, free func()) {
		hold()
		for i := range 10_000 {
			te.ready(true)
			te.ready(false)
			te.lost(fmt.Sprint("outage ", i))
		}
		te.ready(true)
		te.mu.Lock()
		if n := len(te.notes); n > manyNotes {
			t.Errorf("%d notes wait", n)
		}
		te.mu.Unlock()
		free()
	})
	if len(got) < 2 || len(got) > 2*manyNotes+3 {
		t.Fatalf("told %d", len(got))
	}
	if last, before := got[len(got)-1], got[len(got)-2]; last != "true" || before != "a 0 outage 9999" {
		t.Errorf("the end is %q, %q", before, last)
	}
}

// However many notes wait, the last readiness among them is the one that is, and the last loss comes with it.
func TestWhatIsPutTogetherNeverTellsOfAReadinessThatIsOver(t *testing.T) {
	for before := range 3 {
		te := newTeller(bus.Subscription{})
		wait := func(ready bool, lost string) {
			t.Helper()
			var isReady, known bool
			var loss string
			for _, n := range te.notes {
				if n.lost != "" {
					loss = n.lost
				} else {
					isReady, known = n.ready, true
				}
			}
			if !known || isReady != ready || loss != lost || len(te.notes) > manyNotes {
				t.Fatalf("%d notes wait, with %v and %q at the end; it is %v and %q", len(te.notes), isReady, loss, ready, lost)
			}
		}
		for range before {
			te.ready(true)
		}
		was := ""
		for i := range 3 * manyNotes {
			te.ready(false)
			wait(false, was)
			was = fmt.Sprint("outage ", i)
			te.lost(was)
			wait(false, was)
			te.ready(true)
			wait(true, was)
		}
	}
}
