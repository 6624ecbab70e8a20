package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func TestCommittedBeforeACrashIsSentAfterIt(t *testing.T) {
	file := newFile(t)
	db := openDB(t, file)
	add(t, newOutbox(t, db), event("a", 1), event("b", 1), event("a", 2))
	db.Close() // nothing was relayed

	o, rec := newOutbox(t, openDB(t, file)), bustest.NewRecorder()
	relaying(t, o, rec)
	if got := published(t, rec, 3); !slices.Equal(got, []string{"a-1", "b-1", "a-2"}) {
		t.Errorf("published %q", got)
	}
}

func TestWhatWasSentIsMarkedWithItsPlace(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db), bustest.NewRecorder()
	for i := range 300 {
		add(t, o, event(fmt.Sprint("k", i%7), i/7+1))
	}
	relaying(t, o, rec)
	drained(t, o)
	if n := count(t, db, `SELECT count(*) FROM tidings_outbox_sent`); n != 300 {
		t.Fatalf("%d rows are marked", n)
	}
	for _, e := range rec.Published(topic) {
		n := count(t, db, `SELECT count(*) FROM tidings_outbox_sent JOIN tidings_outbox USING (position)
			WHERE id = $1 AND log = $2 AND part = $3 AND off = $4`, e.ID, e.At.Log, e.At.Partition, e.At.Offset)
		if n != 1 {
			t.Errorf("%s: %d rows say that it is at %+v", e.ID, n, e.At)
		}
	}
}

func TestManyWritersOneRelay(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.batch, o.pace.pass = 50, 300 // many batches, many passes
	relaying(t, o, rec)
	const writers, each = 16, 60
	want := make(map[string]int)
	var wg sync.WaitGroup
	for i := range writers {
		key := fmt.Sprint("w", i)
		want[key] = each
		wg.Go(func() {
			for v := 1; v <= each; v += 3 { // a commit for one, and one for two
				add(t, o, event(key, v))
				add(t, o, event(key, v+1), event(key, v+2))
			}
		})
	}
	wg.Wait()
	s := drained(t, o)
	if repeats := inOrder(t, rec, want); repeats > 0 || s.Sent != writers*each {
		t.Errorf("%d repeats, %d sent, though nothing failed", repeats, s.Sent)
	}
}

func TestWakeIsHeardAtOnce(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.look = time.Hour
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	var took []time.Duration
	for v := 1; v <= 50; v++ {
		start := time.Now()
		add(t, o, event("a", v))
		published(t, rec, v)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("commit to published: median %v", took[len(took)/2])
	if took[len(took)/2] > 500*time.Millisecond {
		t.Errorf("median %v: that is no wake", took[len(took)/2])
	}
}

func TestMissedWakeIsCaughtByALook(t *testing.T) {
	file := newFile(t)
	o, rec := newOutbox(t, openDB(t, file)), bustest.NewRecorder()
	other := newOutbox(t, openDB(t, file)) // as another process: its wake is not heard
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	add(t, other, event("a", 1))
	if got := published(t, rec, 1); !slices.Equal(got, []string{"a-1"}) {
		t.Errorf("published %q", got)
	}
}

func TestBrokerAwayAndBack(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.patience, o.pace.partly, o.pace.away = 300*time.Millisecond, 150*time.Millisecond, 150*time.Millisecond
	relaying(t, o, rec)
	rec.SetDown(true)
	want := make(map[string]int)
	for v := 1; v <= 20; v++ {
		for k := range 30 {
			key := fmt.Sprint("k", k)
			add(t, o, event(key, v)) // never waits for the broker
			want[key] = v
		}
	}
	if s := status(t, o); s.Pending != 600 {
		t.Errorf("%d pending while the broker is away", s.Pending)
	}
	rec.SetDown(false)
	drained(t, o)
	inOrder(t, rec, want)
}

func TestShortOutageRepeatsNothing(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	relaying(t, o, rec)
	rec.SetDown(true)
	for v := 1; v <= 100; v++ {
		add(t, o, event("a", v))
	}
	rec.SetDown(false)
	drained(t, o)
	if repeats := inOrder(t, rec, map[string]int{"a": 100}); repeats > 0 {
		t.Errorf("%d repeats", repeats)
	}
}

func TestStopsWhileAPublishIsBlocked(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	rec.SetDown(true)
	stop := relaying(t, o, rec)
	add(t, o, event("a", 1))
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	start := time.Now()
	stop()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	add(t, o, event("a", 2)) // writers go on without a relay
	rec.SetDown(false)
	relaying(t, o, rec)
	drained(t, o)
	inOrder(t, rec, map[string]int{"a": 2})
}

func TestWhatWasAcknowledgedAtTheStopIsMarked(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	dead := &deadKeys{Bus: rec, dead: func(key string) bool { return key == "dead" }}
	add(t, o, event("a", 1), event("dead", 1), event("b", 1))
	stop := relaying(t, o, dead)
	published(t, rec, 2)
	stop()
	if s := status(t, o); s.Pending != 1 || s.Sent != 2 {
		t.Errorf("after the stop: %+v", s)
	}
}

func TestClosedBusEndsTheRelay(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	add(t, o, event("a", 1))
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := o.Relay(t.Context(), rec); !errors.Is(err, bus.ErrClosed) {
		t.Fatalf("error %v", err)
	}
	if s := status(t, o); s.Relaying || s.Pending != 1 {
		t.Errorf("after it: %+v", s)
	}
}

func TestContextThatHasEndedStartsNothing(t *testing.T) {
	o := newOutbox(t, openDB(t, newFile(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Relay(ctx, bustest.NewRecorder()); err != nil {
		t.Fatal(err)
	}
}

func TestTopicsKeepTheirOwnOrder(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db), bustest.NewRecorder()
	for v := 1; v <= 40; v++ {
		for _, topic := range []string{topic, "others", "thirds"} {
			if err := addTo(t.Context(), o, topic, event("a", v)); err != nil {
				t.Fatal(err)
			}
		}
	}
	relaying(t, o, rec)
	drained(t, o)
	for _, topic := range []string{topic, "others", "thirds"} {
		if got := rec.Published(topic); len(got) != 40 || got[0].Version != 1 || got[39].Version != 40 {
			t.Errorf("%s: %d events", topic, len(got))
		}
	}
	if n := count(t, db, `SELECT count(*) FROM tidings_outbox_sent`); n != 120 {
		t.Errorf("%d rows are marked", n)
	}
}

func TestRowThatIsNoEventStopsNobody(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db), bustest.NewRecorder()
	add(t, o, event("a", 1), event("a", 2), event("a", 3), event("b", 1), event("b", 2))
	refused := event("b", 1)
	refused.Key = "" // it can be read, and no bus takes it
	for id, envelope := range map[string][]byte{"a-2": []byte("nonsense"), "b-1": refused.AppendEnvelope(nil)} {
		if _, err := db.ExecContext(t.Context(), `UPDATE tidings_outbox SET envelope = $1 WHERE id = $2`, envelope, id); err != nil {
			t.Fatal(err)
		}
	}
	relaying(t, o, rec)
	s := drained(t, o)
	if got := published(t, rec, 3); !slices.Equal(got, []string{"a-1", "a-3", "b-2"}) {
		t.Errorf("published %q", got)
	}
	if s.Failed != 2 || !strings.Contains(s.FailedError, "Key") || s.Sent != 3 {
		t.Errorf("status %+v", s)
	}
}

func TestFaultOfTheDatabaseIsWaitedOut(t *testing.T) {
	db := openDB(t, newFile(t))
	o, rec := newOutbox(t, db), bustest.NewRecorder()
	logged := &testWriter{}
	o.log = slog.New(slog.NewTextHandler(logged, nil))
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	rename(t, o, "tidings_outbox_unsent", "gone")
	o.Wake()
	eventually(t, "a line in the log", func() bool { return strings.Contains(logged.String(), "can't be read") })
	rename(t, o, "gone", "tidings_outbox_unsent")
	add(t, o, event("a", 1))
	published(t, rec, 1)
	rename(t, o, "tidings_outbox_sent", "gone")
	add(t, o, event("a", 2))
	eventually(t, "a line in the log", func() bool { return strings.Contains(logged.String(), "can't be marked") })
	rename(t, o, "gone", "tidings_outbox_sent")
	drained(t, o)
	if repeats := inOrder(t, rec, map[string]int{"a": 2}); repeats > 0 {
		t.Errorf("%d repeats", repeats)
	}
}

func rename(t *testing.T, o *Outbox, from, to string) {
	t.Helper()
	// Through the writer, which doesn't mind that others hold the lock.
	err := o.w.InOwnTx(t.Context(), func(ctx context.Context, tx Tx) error {
		_, err := tx.ExecContext(ctx, `ALTER TABLE `+from+` RENAME TO `+to)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// countingBus counts the events of each publish, and how many publishes overlap.
type countingBus struct {
	bus.Bus
	now, most atomic.Int64
	mu        sync.Mutex
	sizes     []int
}

func (c *countingBus) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	defer c.now.Add(-1)
	c.mu.Lock()
	c.sizes = append(c.sizes, len(events))
	c.mu.Unlock()
	return c.Bus.Publish(ctx, topic, events...)
}

func TestBacklogIsPublishedInLargeBatchesOneAtATime(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.batch = 100
	events := make([]bus.Event, 1050)
	for i := range events {
		events[i] = event("a", i+1)
	}
	add(t, o, events...)
	counting := &countingBus{Bus: rec}
	relaying(t, o, counting)
	drained(t, o)
	inOrder(t, rec, map[string]int{"a": 1050})
	counting.mu.Lock()
	defer counting.mu.Unlock()
	if len(counting.sizes) != 11 || counting.sizes[0] != 100 || counting.most.Load() != 1 {
		t.Errorf("batches of %v, %d at once", counting.sizes, counting.most.Load())
	}
}

func TestLargeEventsMakeSmallBatches(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.batchBytes = 1 << 20
	for v := 1; v <= 8; v++ {
		e := event("a", v)
		e.Data = make([]byte, 400_000)
		add(t, o, e)
	}
	counting := &countingBus{Bus: rec}
	relaying(t, o, counting)
	drained(t, o)
	inOrder(t, rec, map[string]int{"a": 8})
	counting.mu.Lock()
	defer counting.mu.Unlock()
	if !slices.Equal(counting.sizes, []int{3, 3, 2}) {
		t.Errorf("batches of %v", counting.sizes)
	}
}

// closing is a bus that is closed in the middle of a publish: the first event is acknowledged, the rest is given up.
type closing struct{ bus.Bus }

func (c closing) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	if err := c.Bus.Publish(ctx, topic, events[:1]...); err != nil {
		return err
	}
	failed := make(map[int]error)
	for i := range events[1:] {
		failed[i+1] = bus.ErrClosed
	}
	return &bus.PublishError{Topic: topic, Failed: failed}
}

func TestWhatWasAcknowledgedBeforeTheBusClosedIsMarked(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	add(t, o, event("a", 1), event("a", 2), event("b", 1))
	if err := o.Relay(t.Context(), closing{rec}); !errors.Is(err, bus.ErrClosed) {
		t.Fatalf("error %v", err)
	}
	if s := status(t, o); s.Sent != 1 || s.Pending != 2 {
		t.Errorf("status %+v", s)
	}
}
