package outbox

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func isDead(key string) bool { return strings.HasPrefix(key, "dead") }

// addVersions adds versions from to to of each key, a transaction a version.
func addVersions(t *testing.T, o *Outbox, want map[string]int, from, to int, keys ...string) {
	t.Helper()
	for v := from; v <= to; v++ {
		events := make([]bus.Event, len(keys))
		for i, key := range keys {
			events[i] = event(key, v)
			want[key] = v
		}
		add(t, o, events...)
	}
}

func keys(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return all
}

// alive counts the events that were published of keys that are not dead.
func alive(rec *bustest.Recorder) (n int) {
	for _, e := range rec.Published(topic) {
		if !isDead(e.Key) {
			n++
		}
	}
	return n
}

func TestFailingKeyIsStoppedAndTheOthersGoOn(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	refuse := errors.New("no leader")
	rec.FailPublish(func(_ string, e bus.Event) error {
		if isDead(e.Key) && e.Version >= 3 {
			return refuse
		}
		return nil
	})
	relaying(t, o, rec)
	want := make(map[string]int)
	addVersions(t, o, want, 1, 20, "dead1", "a", "b", "dead2")
	eventually(t, "the others", func() bool { return alive(rec) == 40 })
	eventually(t, "the status", func() bool { s := status(t, o); return s.Pending == 36 && s.Sent == 44 })
	rec.FailPublish(nil)
	drained(t, o)
	if repeats := inOrder(t, rec, want); repeats > 0 {
		t.Errorf("%d repeats of events that were never stored", repeats)
	}
}

func TestLostAcknowledgementsRepeatInOrder(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	n := 0
	rec.FailPublish(func(string, bus.Event) error { // called under a lock
		if n++; n%7 == 0 {
			return fmt.Errorf("connection lost: %w", bustest.ErrStored)
		}
		return nil
	})
	o.pace.batch = 20
	relaying(t, o, rec)
	want := make(map[string]int)
	addVersions(t, o, want, 1, 30, keys("k", 9)...)
	drained(t, o)
	if repeats := inOrder(t, rec, want); repeats == 0 {
		t.Error("nothing came twice though acknowledgements were lost")
	}
}

func TestDeadPartitionFillsNoBatch(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.patience, o.pace.partly, o.pace.away = 500*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	o.pace.batch, o.pace.probe = 50, 2
	dead := &deadKeys{Bus: rec, dead: isDead}
	relaying(t, o, dead)
	want := make(map[string]int)
	addVersions(t, o, want, 1, 4, keys("dead", 120)...) // more than twice a batch stands in front
	addVersions(t, o, want, 1, 10, keys("a", 40)...)
	eventually(t, "the others", func() bool { return alive(rec) == 400 })
	if s := status(t, o); s.Pending < 480 {
		t.Errorf("%+v, though 480 events can't get through", s)
	}
	before := dead.triedDead()
	addVersions(t, o, want, 11, 20, keys("a", 40)...)
	eventually(t, "the others again", func() bool { return alive(rec) == 800 })
	if tried := dead.triedDead() - before; tried > 300 {
		t.Errorf("dead keys were tried %d times while 400 others got through", tried)
	}
	dead.set(nil)
	drained(t, o)
	inOrder(t, rec, want)
}

func TestHeldKeysAreBounded(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.patience, o.pace.partly, o.pace.away = 200*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	o.pace.batch, o.pace.probe, o.pace.maxHeld = 10, 2, 25
	dead := &deadKeys{Bus: rec, dead: isDead}
	want := make(map[string]int)
	addVersions(t, o, want, 1, 1, keys("dead", 100)...)
	addVersions(t, o, want, 1, 3, keys("a", 5)...)
	relaying(t, o, dead)
	eventually(t, "some trials", func() bool { return dead.triedDead() > 60 })
	dead.set(func(key string) bool { return isDead(key) && len(key) == len("dead0") }) // ten are still dead
	eventually(t, "the others", func() bool { return alive(rec) == 15 })
	eventually(t, "all but ten", func() bool { return status(t, o).Pending == 10 })
	dead.set(nil)
	drained(t, o)
	inOrder(t, rec, want)
}

func TestSkippedEventsAreBounded(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.batch, o.pace.maxSkipped = 10, 50
	rec.FailPublish(func(_ string, e bus.Event) error {
		if isDead(e.Key) {
			return errors.New("no")
		}
		return nil
	})
	want := make(map[string]int)
	addVersions(t, o, want, 1, 100, "dead")
	addVersions(t, o, want, 1, 1, "a")
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	rec.FailPublish(nil)
	drained(t, o)
	inOrder(t, rec, want)
}

func TestHeldTriesFewKeysAndThenMore(t *testing.T) {
	p := defaultPace()
	p.probe, p.firstDelay = 2, time.Minute
	h := newHeld(p)
	now := time.Now()
	h.begin(now)
	for i := range 100 {
		h.hold(eventKey{topic, fmt.Sprint(i)}, errors.New("no"))
	}
	h.through, h.failed = 10, 100
	if c := h.end(now); c.kind != heldMore || c.keys != 100 || h.allows(eventKey{topic, "7"}) || !h.allows(eventKey{topic, "new"}) {
		t.Errorf("after the first failure %+v", c)
	}
	h.begin(now) // before it is due
	if len(h.trying) > 0 {
		t.Error("keys were let go too early")
	}
	h.end(now)
	for _, want := range []int{2, 16, 82} {
		left, some := h.next(now)
		if !some {
			t.Fatal("nothing is held")
		}
		now = now.Add(left)
		h.begin(now)
		if len(h.trying) != want {
			t.Fatalf("%d keys are tried, want %d", len(h.trying), want)
		}
		for k := range h.trying {
			h.cameThrough(topic, []bus.Event{{Key: k.key}})
		}
		h.end(now)
	}
	if !h.empty() || h.patience() != p.patience {
		t.Error("not calm after all keys got through")
	}
}

func TestHeldWaitsLongerEachTime(t *testing.T) {
	p := defaultPace()
	h := newHeld(p)
	now := time.Now()
	h.hold(eventKey{topic, "a"}, errors.New("no"))
	h.failed = 1
	var last heldChange
	for range 12 {
		last = h.end(now)
		if last.kind != heldMore {
			t.Fatalf("change %+v", last)
		}
		now = h.due
		h.begin(now)
		h.hold(eventKey{topic, "a"}, errors.New("no"))
		h.failed = 1
	}
	if last.delay < p.lastDelay/2 || last.delay > 2*p.lastDelay {
		t.Errorf("the last delay is %v", last.delay)
	}
	h.begin(h.due)
	h.cameThrough(topic, []bus.Event{{Key: "a"}})
	if c := h.end(now); c.kind != heldNone {
		t.Errorf("after it got through %+v", c)
	}
}

func TestHeldIsPatientAsLongAsAllIsWell(t *testing.T) {
	p := defaultPace()
	h := newHeld(p)
	now := time.Now()
	if h.patience() != p.patience || h.sample != 0 {
		t.Error("impatient from the start")
	}
	pass := func(through, failed int, covered bool) {
		h.begin(now)
		h.through, h.failed, h.covered = through, failed, covered
		h.hold(eventKey{topic, "a"}, errors.New("no"))
		h.end(now)
	}
	pass(0, 1, false)
	if h.patience() != p.away || h.sample != p.probe || !h.nothing {
		t.Errorf("nothing gets through: %v, %d", h.patience(), h.sample)
	}
	pass(5, 1, false)
	if h.patience() != p.partly || h.sample != 8*p.probe || h.nothing {
		t.Errorf("some get through: %v, %d", h.patience(), h.sample)
	}
	pass(5, 1, true)
	if h.sample != 0 {
		t.Errorf("all was tried: %d", h.sample)
	}
}

func TestFirstFailureOfEachKey(t *testing.T) {
	events := []bus.Event{{Key: "a"}, {Key: "b"}, {Key: "a"}, {Key: "c"}, {Key: "a"}}
	no := errors.New("no")
	got := firstFailures(events, map[int]error{4: no, 2: no, 3: no})
	if len(got) != 2 || got["a"] != 2 || got["c"] != 3 {
		t.Errorf("got %v", got)
	}
}
