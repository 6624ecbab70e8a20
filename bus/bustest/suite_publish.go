package bustest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/tidings-dev/tidings/bus"
)

var publishTests = []test{
	{"publish fills in where each event was stored", keepsLog, testPublishFillsInAt},
	{"publish stores nothing of a call with an event that can't be sent", ordered, testPublishRefusesWhole},
	{"publish takes an event of exactly the limit", always, testPublishLargest},
	{"publish refuses an event that is a byte too large", ordered, testPublishTooLarge},
	{"publish of nothing does nothing", always, testPublishNothing},
	{"publish is safe for concurrent use", always, testPublishConcurrently},
	{"close waits for nothing and refuses what comes after", always, testClose},
}

// At is how an outbox learns where its rows went: no two events share a place, and a key's places are in its order.
func testPublishFillsInAt(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	es := events(3, keys(20)...)
	k.publish(b, topic, es...)
	last := make(map[string]bus.Position)
	taken := make(map[bus.Position]bool)
	for i, e := range es {
		if e.At.Topic != topic || e.At.Log == "" || e.At.Offset < 0 || e.At.Partition < 0 {
			k.Fatalf("event %d is at %+v", i, e.At)
		}
		if taken[e.At] {
			k.Errorf("two events are at %+v", e.At)
		}
		taken[e.At] = true
		if before, ok := last[e.Key]; ok && (before.Partition != e.At.Partition || before.Offset >= e.At.Offset) {
			k.Errorf("%s: version %d is at %+v, behind it at %+v", e.Key, e.Version, e.At, before)
		}
		last[e.Key] = e.At
	}
}

// One bad event must not leave the good ones before it in the log: the caller would send them again with the rest.
func testPublishRefusesWhole(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	bad := event("a", 2)
	bad.Source = ""
	if err := b.Publish(k.ctx, topic, event("a", 1), bad); err == nil {
		k.Error("an event without a source was published")
	}
	// Same key, so that it comes after whatever of the refused call was stored.
	good := event("a", 3)
	k.publish(b, topic, good)
	c.await(k, []bus.Event{good})
}

// The limit is one that every backend keeps, so that an event doesn't fail only once it is moved to another broker. Its
// bytes are such that no compression makes them small.
func testPublishLargest(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	largest := k.eventOfSize("a", 1, bus.MaxEventBytes)
	k.publish(b, topic, largest)
	c.await(k, []bus.Event{largest})
	if got := c.events()[0]; !bytes.Equal(got.Data, largest.Data) {
		k.Errorf("%d bytes arrived otherwise than they were published (%d)", len(got.Data), len(largest.Data))
	}
}

// One byte more is refused before the broker sees it, and what is published with it isn't stored either.
func testPublishTooLarge(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	es := []bus.Event{event("a", 1), k.eventOfSize("a", 2, bus.MaxEventBytes+1)}
	if err := b.Publish(k.ctx, topic, es...); !errors.Is(err, bus.ErrTooLarge) {
		k.Errorf("Publish: %v, want ErrTooLarge", err)
	}
	for i, e := range es {
		if e.At != (bus.Position{}) {
			k.Errorf("event %d is at %+v, though the call was refused", i, e.At)
		}
	}
	good := event("a", 3) // same key, so that it comes after whatever was stored
	k.publish(b, topic, good)
	c.await(k, []bus.Event{good})
}

// eventOfSize makes an event that is as large as said, to the byte.
func (k *kit) eventOfSize(key string, version uint64, size int) bus.Event {
	k.Helper()
	e := event(key, version)
	e.Data = noise(size)
	e.Data = e.Data[:size-(e.Size()-size)]
	if e.Size() != size {
		k.Fatalf("an event of %d bytes came out as one of %d", size, e.Size())
	}
	return e
}

// noise returns n bytes without a pattern, always the same.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// A caller with nothing to say is no fault; one that says it to nobody is.
func testPublishNothing(k *kit) {
	b := k.open()
	if err := b.Publish(k.ctx, k.fresh("topic")); err != nil {
		k.Errorf("Publish of no events: %v", err)
	}
	if err := b.Publish(k.ctx, "", event("a", 1)); err == nil {
		k.Error("an event was published to no topic")
	}
}

// Eight publishers share one bus, each with keys of its own, in calls that overlap.
func testPublishConcurrently(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	var all []bus.Event
	var publishers sync.WaitGroup
	for i := range 8 {
		es := events(10, fmt.Sprintf("a-%d", i), fmt.Sprintf("b-%d", i))
		all = append(all, es...)
		publishers.Go(func() {
			for chunk := range chunks(es, 3) {
				if err := b.Publish(k.ctx, topic, chunk...); err != nil {
					k.Errorf("Publish: %v", err)
				}
			}
		})
	}
	publishers.Wait()
	c.await(k, all)
}

// ErrClosed is a sentinel that callers decide by: it must be found with errors.Is however a backend wraps it.
func testClose(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, event("a", 1))
	for range 2 {
		if err := b.Close(k.ctx); err != nil {
			k.Errorf("Close: %v", err)
		}
	}
	if err := b.Publish(k.ctx, topic, event("a", 2)); !errors.Is(err, bus.ErrClosed) {
		k.Errorf("Publish after Close: %v, want ErrClosed", err)
	}
	err := b.Subscribe(k.ctx, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}, (&collector{}).handle)
	if !errors.Is(err, bus.ErrClosed) {
		k.Errorf("Subscribe after Close: %v, want ErrClosed", err)
	}
}
