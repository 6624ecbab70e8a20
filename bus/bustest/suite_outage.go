package bustest

import (
	"context"
	"errors"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

var outageTests = []test{
	{"publishing waits for a broker that is away", canGoDown, testPublishWaits},
	{"publishing while the broker is away ends with its context", canGoDown, testPublishGivesUp},
	{"a subscription waits for a broker that is away", canGoDown, testSubscribeWaits},
	{"a subscription lives through an outage", canGoDown, testOutage},
	{"an outage under load loses nothing", durableAndGoesDown, testOutageUnderLoad},
	{"an outage is told as a loss", keepsNoLogAndGoesDown, testOutageIsLoss},
	{"an outage under load is told as a loss", keepsNoLogAndGoesDown, testLossUnderLoad},
}

// outage takes the broker away until the function that it returns is called, or the test ends.
func (k *kit) outage() (end func()) {
	k.h.SetDown(k.T, true)
	down := true
	end = func() {
		if down {
			down = false
			k.h.SetDown(k.T, false)
		}
	}
	k.Cleanup(end)
	return end
}

// An outbox's relay relies on it: through an outage it has one call that waits, not a loop of failing ones.
func testPublishWaits(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, event("a", 1))
	end := k.outage()
	published := make(chan error, 1)
	second := event("a", 2)
	go func() { published <- b.Publish(k.ctx, topic, second) }()
	// That it waits can only be seen for a while.
	ctx, cancel := context.WithTimeout(k.ctx, 300*time.Millisecond)
	defer cancel()
	select {
	case err := <-published:
		k.Fatalf("Publish returned %v while the broker was away", err)
	case <-ctx.Done():
	}
	end()
	if err := <-published; err != nil {
		k.Errorf("Publish: %v", err)
	}
}

// A caller with a deadline is told by it which events are in doubt: all of them.
func testPublishGivesUp(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, event("a", 1))
	defer k.outage()()
	ctx, cancel := context.WithTimeout(k.ctx, 300*time.Millisecond)
	defer cancel()
	es := events(2, "a", "b")
	err := b.Publish(ctx, topic, es...)
	var failed *bus.PublishError
	if !errors.As(err, &failed) || !errors.Is(err, context.DeadlineExceeded) {
		k.Fatalf("Publish: %v, want a *PublishError that wraps the context's", err)
	}
	if len(failed.Failed) != len(es) || failed.Topic != topic {
		k.Errorf("failed: %v of topic %q, want all of %d", failed.Failed, failed.Topic, len(es))
	}
	for i, e := range es {
		if e.At != (bus.Position{}) {
			k.Errorf("event %d is at %+v, though it was not acknowledged", i, e.At)
		}
	}
}

// A service that starts while the broker is away starts all the same, and works once the broker is there.
func testSubscribeWaits(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	end := k.outage()
	c := &collector{}
	r := k.subscribe(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}, c.handle)
	if r.isReady() {
		k.Error("a subscription is ready while the broker is away")
	}
	end()
	r.awaitReady(true)
	es := events(3, keys(10)...)
	k.publish(b, topic, es...)
	c.await(k, es)
}

// The subscription says that it is cut off, comes back by itself, and has missed nothing.
func testOutage(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, r := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	es := events(3, keys(10)...)
	k.publish(b, topic, es...)
	c.await(k, es)
	end := k.outage()
	r.awaitReady(false)
	end()
	r.awaitReady(true)
	more := events(3, keys(10)...)
	k.publish(b, topic, more...)
	c.await(k, append(es, more...))
}
