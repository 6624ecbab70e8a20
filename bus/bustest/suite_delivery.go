package bustest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/bus"
)

var deliveryTests = []test{
	{"events arrive as they were published", always, testArrivesWhole},
	{"events of other topics don't arrive", always, testTopicsApart},
	{"one subscription reads several topics", always, testSeveralTopics},
	{"a delivery holds at most MaxBatch events", always, testMaxBatch},
	{"a delivery that failed comes again", always, testRedelivery},
	{"a delivery comes again after the delay that was asked for", always, testRetryAfter},
	{"a permanent error ends the subscription", always, testPermanent},
	{"a subscription that ends cancels its handler and waits for it", always, testCancel},
	{"readiness is told when it changes", always, testReady},
	{"what the backend lacks is refused", always, testRequire},
	{"a subscription that makes no sense is refused", always, testSubscriptionRefused},
	{"a record that is no event is delivered as such and stops nothing", takesRaw, testForeignRecord},
}

// closeTests look at the whole process, so nothing may run beside them.
var closeTests = []test{
	{"a bus that is closed leaves no goroutine", always, testNoGoroutine},
}

// oddEvents are events that a careless backend bends.
func oddEvents() []bus.Event {
	var es []bus.Event
	for _, key := range []string{
		"a", " ", "a b", "ключ", "鍵/🔑", `"quoted"`, "%2F", "a:b=c&d", "-", "0", strings.Repeat("long", 500),
	} {
		es = append(es, event(key, 1))
	}
	e := func(change func(e *bus.Event)) {
		ev := event("odd", uint64(len(es)))
		change(&ev)
		es = append(es, ev)
	}
	e(func(e *bus.Event) { e.Data = nil })
	e(func(e *bus.Event) { e.Data, e.DataType = nil, "" })
	e(func(e *bus.Event) { e.DataType = ""; e.Data = []byte{0x0a, 0x01, 'x'} })
	e(func(e *bus.Event) { e.DataType = "application/octet-stream"; e.Data = everyByte() })
	e(func(e *bus.Event) { e.Version = 0 })
	e(func(e *bus.Event) { e.Version, e.Seq = 1<<64-1, 1<<64-1 })
	e(func(e *bus.Event) { e.Time = time.Date(2026, 2, 28, 23, 59, 59, 999_999_999, time.UTC) })
	e(func(e *bus.Event) { e.Time = time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC) })
	e(func(e *bus.Event) { e.Source, e.Type = "urn:x:y#z", "Ünïcode" })
	e(func(e *bus.Event) {
		e.Ext = map[string]string{"traceparent": "00-0af7-b7ad-01", "empty": "", "x1": "ä"}
	})
	return es
}

// everyByte is data that no text encoding survives.
func everyByte() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// What arrives is compared as a whole, At included, so that a field that is added to Event is covered too.
func testArrivesWhole(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	want := oddEvents()
	k.publish(b, topic, want...)
	c.await(k, want)
	got := k.whereStored(c, want)
	byID := func(a, b bus.Event) bool { return a.ID < b.ID }
	heard := cmpopts.IgnoreFields(bus.Event{}, "Heard") // known to the publisher alone
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(byID), cmpopts.EquateEmpty(), heard); diff != "" {
		k.Errorf("published (-) and arrived (+), with At:\n%s", diff)
	}
}

// whereStored are the events that c got, each id once. Of one that was stored more than once it is the copy that its
// publisher was told of, which may still be on its way.
func (k *kit) whereStored(c *collector, want []bus.Event) []bus.Event {
	k.Helper()
	if !k.h.Repeats {
		return c.events()
	}
	places := make(map[string]bus.Position, len(want))
	for _, e := range want {
		places[e.ID] = e.At
	}
	found := make(map[string]bus.Event, len(want))
	k.eventually("each event arrives from where it was stored", func() bool {
		for _, d := range c.all() {
			for _, e := range d.Events {
				if at, ok := places[e.ID]; ok && at == e.At {
					found[e.ID] = e
				}
			}
		}
		return len(found) == len(want)
	})
	return slices.Collect(maps.Values(found))
}

// The topics have the same keys, so that nothing but the topic tells the events apart.
func testTopicsApart(k *kit) {
	b, one, other := k.open(), k.fresh("topic"), k.fresh("topic")
	c1, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{one}})
	c2, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{other}})
	es1, es2 := events(10, keys(5)...), events(10, keys(5)...)
	k.publish(b, one, es1...)
	k.publish(b, other, es2...)
	c1.await(k, es1)
	c2.await(k, es2)
}

// An inbox reads all its topics by one subscription: its transactions span them.
func testSeveralTopics(k *kit) {
	b, topics := k.open(), []string{k.fresh("topic"), k.fresh("topic")}
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: topics})
	es1, es2 := events(10, keys(5)...), events(10, keys(5)...)
	k.publish(b, topics[0], es1...)
	k.publish(b, topics[1], es2...)
	c.await(k, slices.Concat(es1, es2))
}

// A handler makes room for MaxBatch events, so one more is a fault; one less is none, for nothing waits to fill it.
func testMaxBatch(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	small, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, MaxBatch: 7})
	usual, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	es := events(30, keys(100)...)
	k.publish(b, topic, es...)
	small.await(k, es)
	usual.await(k, es)
	for limit, c := range map[int]*collector{7: small, bus.DefaultMaxBatch: usual} {
		for _, d := range c.all() {
			if len(d.Events) > limit {
				k.Errorf("a delivery has %d events of at most %d", len(d.Events), limit)
			}
		}
	}
}

// The delivery that comes again is the same one, for its ranges tell the reader what it was about: were it another,
// the events that were left out would never come.
func testRedelivery(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	var tries, done collector
	handler := func(_ context.Context, d bus.Delivery) error {
		tries.add(d)
		if len(tries.all()) <= 2 {
			return errors.New("not now")
		}
		done.add(d)
		return nil
	}
	r := k.subscribe(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}, handler)
	r.awaitReady(true)
	es := events(3, "a")
	k.publish(b, topic, es...)
	done.await(k, es)
	all := tries.all()
	for i, d := range all[1:3] {
		if diff := cmp.Diff(all[0], d); diff != "" {
			k.Errorf("try 1 (-) and try %d (+) differ:\n%s", i+2, diff)
		}
	}
}

// The delay asked for is kept both ways: short ones don't grow, and a long one is waited for.
func testRetryAfter(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	const short, many, long = time.Millisecond, 30, 400 * time.Millisecond
	var tries atomic.Int64
	var before time.Time
	took := make(chan time.Duration, 1)
	handler := func(context.Context, bus.Delivery) error {
		// A delay that grows from try to try would need minutes for so many.
		switch n := tries.Add(1); {
		case n <= many:
			return bus.RetryAfter(short, errors.New("not now"))
		case n == many+1:
			before = time.Now()
			return bus.RetryAfter(long, errors.New("not now"))
		case n == many+2:
			took <- time.Since(before)
		}
		return nil
	}
	k.subscribe(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}, handler).awaitReady(true)
	k.publish(b, topic, event("a", 1))
	select {
	case d := <-took:
		if d < long {
			k.Errorf("the delivery came again after %v, want %v", d, long)
		}
	case <-k.ctx.Done():
		k.Errorf("%d tries of %d", tries.Load(), many+2)
	}
}

// The error comes out as it went in, and what it was about is not done: the next subscription gets it again.
func testPermanent(k *kit) {
	b, topic, group := k.open(), k.fresh("topic"), k.fresh("group")
	fault := errors.New("this never works")
	handler := func(context.Context, bus.Delivery) error { return bus.Permanent(fault) }
	r := k.subscribe(b, bus.Subscription{Group: group, Topics: []string{topic}}, handler)
	r.awaitReady(true)
	es := events(3, "a")
	k.publish(b, topic, es...)
	if err := r.wait(); !errors.Is(err, fault) || !bus.IsPermanent(err) {
		k.Errorf("Subscribe returned %v, want the handler's error", err)
	}
	if !k.h.Guarantees.Durable {
		return
	}
	c, _ := k.listen(b, bus.Subscription{Group: group, Topics: []string{topic}})
	c.await(k, es)
}

// The handler here ends only with its context. A bus may let it finish for a while first, but not for ever, and must
// not return before it: its caller closes the database next.
func testCancel(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	var running atomic.Bool
	began := make(chan struct{}, 1)
	handler := func(ctx context.Context, _ bus.Delivery) error {
		running.Store(true)
		defer running.Store(false)
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	r := k.subscribe(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}, handler)
	r.awaitReady(true)
	k.publish(b, topic, event("a", 1))
	select {
	case <-began:
	case <-k.ctx.Done():
		k.Fatal("the handler was never called")
	}
	r.stop()
	if running.Load() {
		k.Error("Subscribe returned while its handler ran")
	}
}

// A service opens a bus once, but tests and tools open hundreds in a process.
func testNoGoroutine(k *kit) {
	// A first bus starts what a backend starts once in a process.
	k.useOnce()
	before := goleak.IgnoreCurrent()
	k.useOnce()
	var leaked error
	defer func() {
		if k.Failed() {
			k.Log(leaked)
		}
	}()
	k.eventually("no goroutine is left", func() bool {
		leaked = goleak.Find(before, goleak.IgnoreTopFunction("testing.(*T).Run"))
		return leaked == nil
	})
}

// useOnce opens a bus, uses all of it, and closes it.
func (k *kit) useOnce() {
	b, topic := k.h.Open(k.T), k.fresh("topic")
	c := &collector{}
	r := k.subscribe(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}, c.handle)
	r.awaitReady(true)
	es := events(10, keys(5)...)
	k.publish(b, topic, es...)
	c.await(k, es)
	r.stop()
	if err := b.Close(k.ctx); err != nil {
		k.Errorf("Close: %v", err)
	}
}

// Health is told by these: what is never told to be over stays green.
func testReady(k *kit) {
	b := k.open()
	_, r := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}})
	r.stop()
	turns := r.heard()
	if len(turns)%2 != 0 {
		k.Errorf("OnReady heard %v: the last was not false, though the subscription has ended", turns)
	}
	for i, ready := range turns {
		if ready != (i%2 == 0) {
			k.Errorf("OnReady heard %v, want true and false by turns", turns)
			break
		}
	}
}

// A subscription that requires all that the harness promises has to run, and one that requires more is refused by an
// error that says what is missing, not by an event that is lost later.
func testRequire(k *kit) {
	b := k.open()
	if lacks := b.Guarantees().Missing(k.h.Guarantees); lacks != (bus.Guarantees{}) {
		k.Errorf("Guarantees lacks what its harness promises: %v", lacks)
	}
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}, Require: k.h.Guarantees}
	_, r := k.listen(b, s)
	r.stop()
	lacking := k.h.Guarantees.Missing(bus.All())
	if lacking == (bus.Guarantees{}) {
		return
	}
	for _, want := range []bus.Guarantees{
		bus.All(), {Durable: lacking.Durable}, {Replayable: lacking.Replayable}, {Groups: lacking.Groups}, {OrderedByKey: lacking.OrderedByKey},
	} {
		if s.Require = want; want != (bus.Guarantees{}) {
			k.refused(b, s, k.h.Guarantees.Missing(want))
		}
	}
}

// refused subscribes, which must fail for what is missing.
func (k *kit) refused(b bus.Bus, s bus.Subscription, missing bus.Guarantees) {
	k.Helper()
	var refused *bus.GuaranteeError
	if err := b.Subscribe(k.ctx, s, (&collector{}).handle); !errors.As(err, &refused) {
		k.Fatalf("Subscribe returned %v, want a *GuaranteeError", err)
	}
	if refused.Group != s.Group || refused.Missing != missing {
		k.Errorf("refused with %+v, want group %q and %v", refused, s.Group, missing)
	}
}

// Faults of the caller are found before anything is joined.
func testSubscriptionRefused(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	for name, s := range map[string]bus.Subscription{
		"no group":          {Topics: []string{topic}},
		"no topic":          {Group: "g"},
		"an empty topic":    {Group: "g", Topics: []string{topic, ""}},
		"negative MaxBatch": {Group: "g", Topics: []string{topic}, MaxBatch: -1},
	} {
		if err := b.Subscribe(k.ctx, s, (&collector{}).handle); err == nil {
			k.Errorf("%s: Subscribe returned nil", name)
		}
	}
}

// Topics are shared with other programs. A record of theirs must neither stop the consumer nor pass unseen: it comes
// in its place, with its key and its bytes.
func testForeignRecord(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	good := event("a", 1)
	k.h.Put(k.T, topic, "a", []byte("{}"))
	k.publish(b, topic, good)
	k.eventually("both records arrive", func() bool { return len(c.events()) == 2 })
	bad := c.events()[0]
	if bad.Err == nil {
		k.Error("it came as an event, without Err")
	}
	want := bus.Event{Data: []byte("{}"), At: bad.At, Err: bad.Err}
	if k.h.Log { // else the key stands in the envelope alone
		want.Key = "a"
	}
	if diff := cmp.Diff(want, bad, cmpopts.EquateErrors()); diff != "" || bad.At.Topic != topic {
		k.Errorf("want (-), got (+):\n%s", diff)
	}
	if got := c.events()[1]; got.ID != good.ID || got.Err != nil {
		k.Errorf("after it came %+v", got)
	}
}
