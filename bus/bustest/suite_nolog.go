package bustest

import (
	"context"
	"errors"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

// noLogTests are about what a backend without a log promises in place of one: to say what it does not keep.
var noLogTests = []test{
	{"a backend without a log has no partitions", keepsNoLog, testNoPartitions},
	{"events of a backend without a log are nowhere", keepsNoLog, testNowhere},
	{"publish says how many heard it", keepsNoLog, testHeard},
	{"events published while nobody listens are lost", keepsNoLog, testLostWhileAway},
	{"heartbeats come apart from events", keepsNoLog, testHeartbeats},
	{"each member of a group gets every event", groupless, testEachMember},
}

func keepsNoLog(h Harness) bool            { return !h.Log && !h.Guarantees.Durable }
func keepsNoLogAndGoesDown(h Harness) bool { return keepsNoLog(h) && canGoDown(h) }
func groupless(h Harness) bool             { return keepsNoLog(h) && !h.Guarantees.Groups }

// An inbox asks for lag and has to hear that there is none, in place of figures that mean nothing.
func testNoPartitions(k *kit) {
	in, ok := k.open().(bus.Inspector)
	if !ok {
		return
	}
	if _, err := in.Partitions(k.ctx, k.fresh("topic")); !errors.Is(err, errors.ErrUnsupported) {
		k.Errorf("Partitions: %v, want one that wraps errors.ErrUnsupported", err)
	}
}

// Whoever keeps positions must be able to tell that there are none.
func testNowhere(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	resumed := func(context.Context, []bus.Partition) ([]int64, error) {
		k.Error("Resume was asked")
		return nil, nil
	}
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, Resume: resumed})
	es := events(3, keys(5)...)
	k.publish(b, topic, es...)
	c.await(k, es)
	nowhere := bus.Position{Topic: topic, Offset: -1}
	for _, e := range slices.Concat(es, c.events()) {
		if e.At != nowhere {
			k.Fatalf("an event is at %+v, want %+v", e.At, nowhere)
		}
	}
	for _, d := range c.all() {
		if len(d.Ranges) > 0 {
			k.Fatalf("a delivery has ranges: %+v", d.Ranges)
		}
	}
}

// It is the loss made visible at the moment of sending: an outbox adds it up.
func testHeard(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	for listeners := range 3 {
		es := events(2, keys(5)...)
		k.publish(b, topic, es...)
		for _, e := range es {
			if e.Heard != listeners {
				k.Fatalf("an event was heard by %d, of %d that listen", e.Heard, listeners)
			}
		}
		k.listen(k.open(), bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	}
}

// Were it otherwise the backend should say that it is durable. That it comes neither late nor in part is what matters
// to those who count.
func testLostWhileAway(k *kit) {
	b, s := k.open(), bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}}
	c, r := k.listen(b, s)
	before := events(2, keys(5)...)
	k.publish(b, s.Topics[0], before...)
	c.await(k, before)
	r.stop()
	k.publish(b, s.Topics[0], events(2, keys(5)...)...)
	c, _ = k.listen(b, s)
	after := events(2, keys(5)...)
	k.publish(b, s.Topics[0], after...)
	c.await(k, after)
}

// A heartbeat means the same however many went before it, but those of two sources, or of two numberings, differ.
func testHeartbeats(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	newest := []bus.Heartbeat{
		{Topic: topic, Source: "/one", SeqLog: "x", Seq: 30}, {Topic: topic, Source: "/two", SeqLog: "x", Seq: 5},
		{Topic: topic, Source: "/one", SeqLog: "y", Seq: 4},
	}
	var beats []bus.Event
	for i := range newest {
		older := newest[i]
		older.Seq = 0
		beats = append(beats, k.heartbeat(older))
	}
	for _, h := range newest {
		beats = append(beats, k.heartbeat(h))
	}
	k.publish(b, topic, beats...)
	end := events(1, "a")
	k.publish(b, topic, end...)
	c.await(k, end) // and nothing else
	last := make(map[bus.Heartbeat]uint64)
	for _, d := range c.all() {
		for _, h := range d.Heartbeats {
			seq := h.Seq
			h.Seq = 0
			last[h] = seq
		}
	}
	for _, h := range newest {
		seq := h.Seq
		h.Seq = 0
		if got, ok := last[h]; !ok || got != seq {
			k.Errorf("the newest heartbeat of %+v says %d (%v), want %d", h, got, ok, seq)
		}
	}
}

func (k *kit) heartbeat(h bus.Heartbeat) bus.Event {
	k.Helper()
	e, err := h.Event()
	if err != nil {
		k.Fatal(err)
	}
	return e
}

// Replicas share a database there and all apply everything: whoever writes a handler has to know.
func testEachMember(k *kit) {
	b, s := k.open(), bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}}
	c1, _ := k.listen(b, s)
	c2, _ := k.listen(k.open(), s)
	es := events(10, keys(20)...)
	k.publish(b, s.Topics[0], es...)
	c1.await(k, es)
	c2.await(k, es)
}

// Nobody can say what was published meanwhile; that something may have been has to be said, once.
func testOutageIsLoss(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	gaps := make(chan bus.Gap, 100)
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, OnGap: func(_ context.Context, g bus.Gap) { gaps <- g }}
	c, r := k.listen(b, s)
	end := k.outage()
	r.awaitReady(false)
	end()
	r.awaitReady(true)
	es := events(2, keys(5)...)
	k.publish(b, topic, es...)
	c.await(k, es)
	r.stop()
	if len(gaps) != 1 {
		k.Fatalf("%d losses were told of one outage", len(gaps))
	}
	if g := <-gaps; g.At != (bus.Position{Topic: topic, Offset: -1}) || g.Missed != 0 || g.Reason == "" {
		k.Errorf("the loss is told as %+v", g)
	}
}
