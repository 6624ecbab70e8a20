package bustest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

var orderTests = []test{
	{"events of a key arrive in order", ordered, testOrder},
	{"events of a key arrive in order though deliveries fail", ordered, testOrderUnderFailure},
	{"members come and go under load, and the order of a key holds", groupedInOrder, testRebalance},
}

func groupedInOrder(h Harness) bool { return ordered(h) && grouped(h) && h.Guarantees.Durable }

// chunks cuts events into calls of at most n.
func chunks(es []bus.Event, n int) iter.Seq[[]bus.Event] { return slices.Chunk(es, n) }

// orderly is a handler that notices when a version comes before the one below it, or a key is handled twice at once.
// That a version comes again is no fault.
type orderly struct {
	k *kit
	collector
	// takes is how long the next delivery is to take. It is called from each handler.
	takes func() time.Duration

	mu     sync.Mutex
	have   map[string]uint64
	count  int // of events, repeats included
	inHand map[string]bool
}

// newOrderly makes one whose deliveries take as long as real work would, so that another handler of the same keys
// would run into it.
func newOrderly(k *kit) *orderly {
	return &orderly{
		k: k, have: make(map[string]uint64), inHand: make(map[string]bool),
		takes: func() time.Duration { return time.Millisecond },
	}
}

func (o *orderly) handle(ctx context.Context, d bus.Delivery) error {
	release := o.hold(d.Events)
	defer release()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(o.takes()):
	}
	o.note(d.Events)
	o.add(d)
	return nil
}

// hold claims the delivery's keys until release is called.
func (o *orderly) hold(es []bus.Event) (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	mine := make(map[string]bool)
	for _, e := range es {
		if o.inHand[e.Key] {
			o.k.Errorf("%s is handled twice at once", e.Key)
		}
		mine[e.Key] = true
	}
	for key := range mine {
		o.inHand[key] = true
	}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for key := range mine {
			delete(o.inHand, key)
		}
	}
}

func (o *orderly) note(es []bus.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range es {
		if e.Version > o.have[e.Key]+1 {
			o.k.Errorf("%s: version %d came after version %d", e.Key, e.Version, o.have[e.Key])
		}
		o.have[e.Key] = max(o.have[e.Key], e.Version)
		o.count++
	}
}

// awaitMore waits until n events more have been handled.
func (o *orderly) awaitMore(n int) {
	o.k.Helper()
	handled := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.count
	}
	before := handled()
	o.k.eventually("the group goes on", func() bool { return handled() >= before+n })
}

// awaitVersions waits until each key has come to the version that want says, which was published last.
func (o *orderly) awaitVersions(want map[string]uint64) {
	o.k.Helper()
	var behind string
	defer func() {
		if o.k.Failed() {
			o.k.Log(behind)
		}
	}()
	o.k.eventually("each key's last version arrives", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		for key, version := range want {
			if o.have[key] != version {
				behind = fmt.Sprintf("%s has come to version %d, and %d was published", key, o.have[key], version)
				return false
			}
		}
		return true
	})
}

// publishConcurrently publishes n versions of each key, the keys shared out among publishers, in calls of various
// sizes that don't overlap within a key.
func (k *kit) publishConcurrently(b bus.Bus, topic string, n int, ks []string) []bus.Event {
	var all []bus.Event
	var publishers sync.WaitGroup
	for i, mine := range slices.Collect(slices.Chunk(ks, 5)) {
		es := events(n, mine...)
		all = append(all, es...)
		publishers.Go(func() {
			for chunk := range chunks(es, 4+7*i) { // each waits for a disk
				if err := b.Publish(k.ctx, topic, chunk...); err != nil {
					k.Errorf("Publish: %v", err)
					return
				}
			}
		})
	}
	publishers.Wait()
	return all
}

// The simplest case of order: one member, whose deliveries are small, so that a key's events are spread over many.
func testOrder(k *kit) {
	b, topic, o := k.open(), k.fresh("topic"), newOrderly(k)
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, MaxBatch: 50}
	k.subscribe(b, s, o.handle).awaitReady(true)
	o.await(k, k.publishConcurrently(b, topic, 60, keys(25)))
}

// Two deliveries of three fail. A backend that went on with the next one meanwhile would be out of order.
func testOrderUnderFailure(k *kit) {
	b, topic, o := k.open(), k.fresh("topic"), newOrderly(k)
	var calls int // handlers of one subscription may run at once
	var mu sync.Mutex
	handler := func(ctx context.Context, d bus.Delivery) error {
		mu.Lock()
		calls++
		fails := calls%3 != 0
		mu.Unlock()
		if fails {
			return bus.RetryAfter(0, context.DeadlineExceeded)
		}
		return o.handle(ctx, d)
	}
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, MaxBatch: 50}
	k.subscribe(b, s, handler).awaitReady(true)
	o.await(k, k.publishConcurrently(b, topic, 20, keys(25)))
}
