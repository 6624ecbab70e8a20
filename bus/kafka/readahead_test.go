package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

func newPart(topic string, number int32) *part {
	p := &part{}
	p.pos = bus.Position{Topic: topic, Log: "log", Partition: number}
	return p
}

// record makes a record of p, which is no event; its value says where it stands.
func record(p *part, offset int64) *ck.Message {
	return &ck.Message{
		TopicPartition: ck.TopicPartition{Topic: &p.pos.Topic, Partition: p.pos.Partition, Offset: ck.Offset(offset)},
		Value:          fmt.Appendf(nil, "%d/%d", p.pos.Partition, offset),
	}
}

// fillBatch puts n records of each partition into a batch, in turns.
func fillBatch(q *readAhead, n int64, parts ...*part) *batch {
	b := q.open()
	for range n {
		for _, p := range parts {
			b.add(p, record(p, p.next))
		}
	}
	return b
}

// shown writes a delivery down: its ranges, and where its events stand.
func shown(d bus.Delivery) string {
	var s string
	for _, r := range d.Ranges {
		s += fmt.Sprintf("%s%d[%d,%d) ", r.Topic, r.Partition, r.Offset, r.Next)
	}
	for _, e := range d.Events {
		s += fmt.Sprintf("%d/%d ", e.At.Partition, e.At.Offset)
		if string(e.Data) != fmt.Sprintf("%d/%d", e.At.Partition, e.At.Offset) || e.Err == nil {
			s += "(of " + string(e.Data) + ") "
		}
	}
	return s
}

func expect(t *testing.T, h *inHand, want string) {
	t.Helper()
	got := "nothing"
	if h != nil {
		got = shown(h.batch.delivery())
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestABatchIsFilledUpWhileItWaits(t *testing.T) {
	q := newReadAhead(4)
	a, b := newPart("t", 1), newPart("t", 0)
	q.put(fillBatch(q, 1, a, b))
	again := q.open()
	again.add(a, record(a, 5)) // a log may skip offsets
	q.put(again)
	q.put(fillBatch(q, 1, a)) // the fourth event of the first batch
	q.put(fillBatch(q, 1, a))
	expect(t, q.take(t.Context()), "t0[0,1) t1[0,7) 1/0 0/0 1/5 1/6 ")
	q.finish(q.hand)
	expect(t, q.take(t.Context()), "t1[7,8) 1/7 ")
	if q.full() || !q.busy() {
		t.Error("full or idle")
	}
}

func TestARangeMovesOnWithoutEvents(t *testing.T) {
	q := newReadAhead(4)
	a := newPart("t", 0)
	b := q.open()
	b.move(a, 7)
	q.put(b)
	expect(t, q.take(t.Context()), "t0[0,7) ")
}

func TestWhatIsVoidNeverReachesTheHandler(t *testing.T) {
	q := newReadAhead(100)
	a, b := newPart("t", 0), newPart("t", 1)
	filling := fillBatch(q, 2, a, b)
	if h := q.void([]*part{a}); h != nil {
		t.Error("nothing is in hand")
	}
	q.put(filling)
	waiting := q.open()
	waiting.add(a, record(a, 2)) // still of before: the poller hasn't heard
	q.put(waiting)
	expect(t, q.take(t.Context()), "t1[0,2) 1/0 1/1 ")
	q.finish(q.hand)

	q.put(fillBatch(q, 1, a))
	if len(q.waiting) != 0 {
		t.Error("a batch of nothing but what is void waits")
	}
	q.renew(a)
	a.next = 1
	q.put(fillBatch(q, 1, a, b))
	q.void([]*part{b})
	expect(t, q.take(t.Context()), "t0[1,2) 0/1 ")
}

func TestWhatIsHandledIsSettledButForWhatIsReadAgain(t *testing.T) {
	q := newReadAhead(100)
	a, b := newPart("t", 0), newPart("t", 1)
	q.put(fillBatch(q, 2, a, b))
	h := q.take(t.Context())
	q.put(fillBatch(q, 2, a, b))
	q.finish(h, b)
	if done := q.settled(); len(done) != 1 || done[a] != 2 {
		t.Errorf("settled %v", done)
	}
	expect(t, q.take(t.Context()), "t0[2,4) 0/2 0/3 ")
	q.finish(q.hand)
	q.done[b] = 9
	q.settled()
	q.unsettle()
	q.leave([]*part{b})
	if done := q.settled(); len(done) != 1 || done[a] != 4 {
		t.Errorf("settled %v", done)
	}
}

// The new reader of a partition commits; an old offset over its own would have the next one read all again.
func TestACommitThatFailsLateDoesNotBringBackWhatWasGivenUp(t *testing.T) {
	q := newReadAhead(100)
	a, b, c := newPart("t", 0), newPart("t", 1), newPart("t", 2)
	q.put(fillBatch(q, 2, a, b, c))
	q.finish(q.take(t.Context()))
	inFlight := q.settled()
	q.leave([]*part{b})       // given up while the broker doesn't answer
	q.put(fillBatch(q, 1, c)) // handled further meanwhile
	q.finish(q.take(t.Context()))
	if len(offsetsOf(inFlight)) != 3 {
		t.Errorf("what is being committed has changed: %v", inFlight)
	}
	q.unsettle()
	if done := q.settled(); len(done) != 2 || done[a] != 2 || done[c] != 3 {
		t.Errorf("to be committed again: %v", done)
	}
}

func TestADeliveryCutShortComesAgainWithoutWhatWasTaken(t *testing.T) {
	q := newReadAhead(100)
	a, b := newPart("t", 0), newPart("t", 1)
	q.put(fillBatch(q, 2, a, b))
	h := q.take(t.Context())
	expect(t, h, "t0[0,2) t1[0,2) 0/0 1/0 0/1 1/1 ")
	if q.void([]*part{a}) != h {
		t.Error("what is in hand wasn't told")
	}
	h.cancel(errRevoked)
	left := q.again(t.Context(), h)
	expect(t, left, "t1[0,2) 1/0 1/1 ")
	select {
	case <-h.over:
	default:
		t.Error("the first attempt isn't over")
	}
	q.void([]*part{b})
	expect(t, q.again(t.Context(), left), "nothing")
}

func TestWaitOverCancelsAfterItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ takes, grace, want time.Duration }{
			{time.Second, 5 * time.Second, time.Second},
			{time.Minute, 5 * time.Second, 5 * time.Second},
			{time.Minute, 0, 0},
		} {
			q := newReadAhead(1)
			q.put(fillBatch(q, 1, newPart("t", 0)))
			h := q.take(t.Context())
			start := time.Now()
			go func() { // a handler
				select {
				case <-time.After(c.takes):
				case <-h.ctx.Done():
				}
				q.finish(h)
			}()
			h.waitOver(c.grace, errRevoked)
			if took := time.Since(start); took != c.want {
				t.Errorf("%v of work with %v of grace took %v", c.takes, c.grace, took)
			}
			if cut := errors.Is(context.Cause(h.ctx), errRevoked); cut != (c.takes > c.grace) {
				t.Errorf("%v of work with %v of grace: cut short %v", c.takes, c.grace, cut)
			}
		}
		(*inHand)(nil).waitOver(time.Hour, errRevoked) // nothing to wait for
	})
}

func TestThePollerWaitsForRoomAndTheWorkerForWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newReadAhead(1)
		p := newPart("t", 0)
		for range waitingBatches {
			if q.full() {
				t.Fatal("full too early")
			}
			q.put(fillBatch(q, 1, p))
		}
		start := time.Now()
		if q.waitRoom(t.Context(), time.Second) || time.Since(start) != time.Second {
			t.Error("there is no room")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if q.waitRoom(ctx, time.Hour) {
			t.Error("there is no room")
		}
		go func() {
			time.Sleep(time.Minute)
			for range waitingBatches + 1 {
				q.finish(q.take(t.Context()))
			}
			if q.take(t.Context()) != nil {
				t.Error("a batch after the end")
			}
		}()
		if !q.waitRoom(t.Context(), time.Hour) || time.Since(start) != time.Minute+time.Second {
			t.Errorf("room after %v", time.Since(start))
		}
		synctest.Wait()
		q.put(fillBatch(q, 1, p))
		synctest.Wait()
		if h := q.close(); h != nil {
			t.Error("something is in hand")
		}
		q.put(fillBatch(q, 1, p))
		synctest.Wait()
		if len(q.waiting) != 0 {
			t.Error("something waits after the end")
		}
	})
}

func TestBatchesAreUsedAgainAndHoldNothing(t *testing.T) {
	q := newReadAhead(10)
	p := newPart("t", 0)
	for range 100 {
		q.put(fillBatch(q, 10, p))
		q.finish(q.take(t.Context()))
	}
	if len(q.free) != 1 {
		t.Fatalf("%d batches", len(q.free))
	}
	all := q.free[0].events[:10]
	if slices.ContainsFunc(all, func(e bus.Event) bool { return e.Data != nil || e.At.Topic != "" }) {
		t.Errorf("an empty batch holds on to %v", all)
	}
}

func TestABatchOfHugeEventsIsFullBeforeItHasManyOfThem(t *testing.T) {
	q, p := newReadAhead(1000), newPart("t", 0)
	b := q.open()
	for i := int64(0); !b.full(q.max); i++ {
		m := record(p, i)
		m.Value = make([]byte, 900_000)
		b.add(p, m)
	}
	if n := len(b.events); n*900_000 < batchBytes || (n-1)*900_000 >= batchBytes {
		t.Errorf("it is full with %d events", n)
	}
	q.put(b)
	if next := q.open(); next == b || next.bytes != 0 {
		t.Errorf("the next batch has %d bytes at its start", next.bytes)
	}
	if b.reset(); b.full(q.max) {
		t.Error("it is full with nothing in it")
	}
}
