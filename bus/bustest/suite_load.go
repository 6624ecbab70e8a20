package bustest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

func durableAndGoesDown(h Harness) bool { return groupedInOrder(h) && canGoDown(h) }

var slowTests = []test{
	{"a handler slower than the backend's patience loses nothing", inOrderAndImpatient, testSlowHandler},
}

func inOrderAndImpatient(h Harness) bool { return ordered(h) && impatient(h) }

// load is publishers at work, each with keys of its own, whose versions they count up.
type load struct {
	k          *kit
	end        chan struct{}
	once       sync.Once
	publishers sync.WaitGroup
	calls      atomic.Int64 // how many calls have begun or ended
	inCall     atomic.Int64 // how many have not ended

	mu        sync.Mutex
	published map[string]uint64 // by key: the last version that was acknowledged
}

// Loads have this many publishers, with as many keys each, and each publishes a version of every key of its own this
// often: enough to keep every partition busy, and little enough for a slow machine to keep up with.
const (
	loadPublishers = 5
	loadPace       = 5 * time.Millisecond
)

// load starts publishers, which stop by themselves when the test ends.
func (k *kit) load(b bus.Bus, topic string) *load {
	l := &load{k: k, end: make(chan struct{}), published: make(map[string]uint64)}
	all := keys(loadPublishers * loadPublishers)
	for i := range loadPublishers {
		mine := all[i*loadPublishers : (i+1)*loadPublishers]
		l.publishers.Go(func() { l.publish(b, topic, mine) })
	}
	k.Cleanup(func() { l.stop() })
	return l
}

// publish is one publisher.
func (l *load) publish(b bus.Bus, topic string, mine []string) {
	pace := time.NewTicker(loadPace)
	defer pace.Stop()
	for version := uint64(1); ; version++ {
		es := make([]bus.Event, len(mine))
		for i, key := range mine {
			es[i] = event(key, version)
		}
		l.inCall.Add(1)
		l.calls.Add(1)
		err := b.Publish(l.k.ctx, topic, es...)
		l.calls.Add(1)
		l.inCall.Add(-1)
		if err != nil {
			l.k.Errorf("Publish: %v", err)
			return
		}
		l.note(es)
		select {
		case <-pace.C:
		case <-l.end:
			return
		}
	}
}

func (l *load) note(es []bus.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range es {
		l.published[e.Key] = e.Version
	}
}

// stop lets the calls in hand finish, and returns the last version of each key.
func (l *load) stop() map[string]uint64 {
	l.once.Do(func() { close(l.end) })
	l.publishers.Wait()
	return l.published
}

// stuckFor is how long every publisher has to stay in its call to count as waiting. That can only be seen for a while.
const stuckFor = 150 * time.Millisecond

// awaitStuck waits until every publisher is in a call that doesn't end.
func (l *load) awaitStuck() {
	l.k.Helper()
	var calls int64
	var since time.Time
	l.k.eventually("every publisher waits for the broker", func() bool {
		if now := l.calls.Load(); l.inCall.Load() < loadPublishers || now != calls {
			calls, since = now, time.Now()
		}
		return !since.IsZero() && time.Since(since) >= stuckFor
	})
}

// Replicas are replaced one after the other while events flow, as in every upgrade. What the one that goes had in hand
// either finishes before another one has its keys, or comes again there.
func testRebalance(k *kit) {
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}, MaxBatch: 200}
	o := newOrderly(k)
	// Longer than it takes until there is more, so that members have always something in hand.
	o.takes = func() time.Duration { return 4 * loadPace }
	join := func() *running {
		r := k.subscribe(k.open(), s, o.handle)
		r.awaitReady(true)
		return r
	}
	oldest, other := join(), join()
	flow := k.load(k.open(), s.Topics[0])
	for range 2 { // all that began are gone then
		next := join()
		o.awaitMore(100)
		oldest.stop()
		o.awaitMore(100)
		oldest, other = other, next
	}
	o.awaitVersions(flow.stop())
}

// The broker is restarted under the hands of publishers and of two members. Their calls wait, and when it is back all
// that was acknowledged arrives. A member that is cut off may work on what another one has already, so each is looked
// at by itself for keys that are handled twice at once.
func testOutageUnderLoad(k *kit) {
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}, MaxBatch: 50}
	o := newOrderly(k)
	var members []*running
	for range 2 {
		mine := newOrderly(k)
		members = append(members, k.subscribe(k.open(), s, func(ctx context.Context, d bus.Delivery) error {
			defer mine.hold(d.Events)()
			o.note(d.Events)
			return nil
		}))
	}
	for _, r := range members {
		r.awaitReady(true)
	}
	flow := k.load(k.open(), s.Topics[0])
	o.awaitMore(200)
	end := k.outage()
	for _, r := range members {
		r.awaitReady(false)
	}
	flow.awaitStuck()
	end()
	for _, r := range members {
		r.awaitReady(true)
	}
	o.awaitMore(200)
	o.awaitVersions(flow.stop())
}

// Without a log events may be missing afterwards. Then that has to be told; and what is published once the
// subscription stands again arrives.
func testLossUnderLoad(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	var gaps atomic.Int64
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, OnGap: func(context.Context, bus.Gap) { gaps.Add(1) }}
	c, r := k.listen(b, s)
	flow := k.load(k.open(), topic)
	k.eventually("events arrive", func() bool { return len(c.events()) > 100 })
	end := k.outage()
	r.awaitReady(false)
	flow.awaitStuck()
	end()
	r.awaitReady(true)
	published := flow.stop()
	last := events(1, "last")
	k.publish(b, topic, last...)
	k.eventually("what is published afterwards arrives", func() bool { return len(without(ids(last), ids(c.events()))) == 0 })
	missing := -len(c.events()) + len(last)
	for _, version := range published {
		missing += int(version)
	}
	if gaps.Load() == 0 {
		k.Errorf("no loss was told of an outage, with %d events missing", missing)
	}
}

// A backend must not take a handler that works for one that is dead, or must get over it: whoever is thrown out of the
// group comes back, and is given again what it had not finished. Meanwhile nobody else has the keys in hand.
func testSlowHandler(k *kit) {
	b, limit := k.openImpatient()
	topic, o := k.fresh("topic"), newOrderly(k)
	var deliveries atomic.Int64
	o.takes = func() time.Duration {
		if deliveries.Add(1) == 2 { // not the first, for the group to have been quiet before
			return limit + limit/2
		}
		return time.Millisecond
	}
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, MaxBatch: 20}
	r := k.subscribe(b, s, o.handle)
	r.awaitReady(true)
	k.publish(b, topic, events(10, keys(10)...)...)
	o.awaitVersions(versions(10, keys(10)...))
	r.awaitReady(true)
	k.publish(b, topic, events(1, "and it still listens")...)
	o.awaitVersions(versions(1, "and it still listens"))
	r.stop()
}

// versions is what [events] makes, as a load counts it.
func versions(n int, keys ...string) map[string]uint64 {
	vs := make(map[string]uint64, len(keys))
	for _, key := range keys {
		vs[key] = uint64(n)
	}
	return vs
}
