package bustest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
)

// kit is what one test of the suite works with.
type kit struct {
	*testing.T
	h   Harness
	ctx context.Context // ends when the test has taken too long
}

func newKit(t *testing.T, h Harness) *kit {
	ctx, cancel := context.WithTimeout(t.Context(), h.Timeout)
	t.Cleanup(cancel)
	return &kit{T: t, h: h, ctx: ctx}
}

// open opens a bus that is closed when the test ends.
func (k *kit) open(opts ...bus.Option) bus.Bus {
	k.Helper()
	b := k.h.Open(k.T, opts...)
	k.closeAtEnd(b)
	return b
}

// openImpatient is open for [Harness.OpenImpatient].
func (k *kit) openImpatient() (bus.Bus, time.Duration) {
	k.Helper()
	b, limit := k.h.OpenImpatient(k.T)
	k.closeAtEnd(b)
	return b, limit
}

func (k *kit) closeAtEnd(b bus.Bus) {
	k.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), k.h.Timeout)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			k.Errorf("Close: %v", err)
		}
	})
}

// fresh returns a name for a topic or a group that nobody has used.
func (k *kit) fresh(what string) string { return "bustest-" + what + "-" + uuid.NewString()[:13] }

// eventually waits until cond holds.
func (k *kit) eventually(what string, cond func() bool) {
	k.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-k.ctx.Done():
			k.Fatalf("waited in vain for this: %s", what)
		}
	}
}

// publish publishes, and ends the test where that fails.
func (k *kit) publish(b bus.Bus, topic string, events ...bus.Event) {
	k.Helper()
	if err := b.Publish(k.ctx, topic, events...); err != nil {
		k.Fatalf("Publish: %v", err)
	}
}

// event makes an event that can be told from every other one.
func event(key string, version uint64) bus.Event {
	return bus.Event{
		ID: uuid.NewString(), Source: "/bustest", Type: "bustest.v1.Happened", Key: key, Version: version,
		DataType: "text/plain", Data: fmt.Appendf(nil, "%s is at %d", key, version),
	}
}

// events makes the versions 1 to n of each key, all of the first version before the second.
func events(n int, keys ...string) []bus.Event {
	var es []bus.Event
	for v := range n {
		for _, key := range keys {
			es = append(es, event(key, uint64(v+1)))
		}
	}
	return es
}

// keys returns n different keys.
func keys(n int) []string {
	ks := make([]string, n)
	for i := range ks {
		ks[i] = fmt.Sprintf("key-%d", i)
	}
	return ks
}

// running is a Subscribe that runs.
type running struct {
	k     *kit
	end   context.CancelFunc
	ended chan struct{}
	err   error // of Subscribe, once ended is closed

	mu    sync.Mutex
	ready bool
	turns []bool // what OnReady heard
}

// subscribe starts a subscription, which is ended when the test ends, if not before.
func (k *kit) subscribe(b bus.Bus, s bus.Subscription, h bus.Handler) *running {
	ctx, cancel := context.WithCancel(k.ctx)
	r := &running{k: k, end: cancel, ended: make(chan struct{})}
	inner := s.OnReady
	s.OnReady = func(ready bool) {
		r.mu.Lock()
		r.ready = ready
		r.turns = append(r.turns, ready)
		r.mu.Unlock()
		if inner != nil {
			inner(ready)
		}
	}
	go func() {
		defer close(r.ended)
		r.err = b.Subscribe(ctx, s, h)
	}()
	k.Cleanup(func() { cancel(); <-r.ended })
	return r
}

// listen starts a subscription that collects, and waits until it stands.
func (k *kit) listen(b bus.Bus, s bus.Subscription) (*collector, *running) {
	k.Helper()
	c := &collector{}
	r := k.subscribe(b, s, c.handle)
	r.awaitReady(true)
	return c, r
}

// isReady is what OnReady heard last.
func (r *running) isReady() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready
}

// heard is all that OnReady heard.
func (r *running) heard() []bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.turns)
}

// awaitReady waits until OnReady has heard want, and ends the test if Subscribe gives up before.
func (r *running) awaitReady(want bool) {
	r.k.Helper()
	r.k.eventually(fmt.Sprintf("the subscription is ready: %v", want), func() bool {
		select {
		case <-r.ended:
			r.k.Fatalf("Subscribe ended by itself: %v", r.err)
		default:
		}
		return r.isReady() == want
	})
}

// stop ends the subscription as its owner does, and waits for it.
func (r *running) stop() {
	r.k.Helper()
	r.end()
	if err := r.wait(); err != nil {
		r.k.Errorf("Subscribe returned %v at the end of its context, want nil", err)
	}
}

// wait waits until Subscribe returns.
func (r *running) wait() error {
	r.k.Helper()
	select {
	case <-r.ended:
		return r.err
	case <-time.After(r.k.h.Timeout):
		r.k.Fatal("Subscribe doesn't return")
		return nil
	}
}

// collector is a handler that takes everything and keeps it.
type collector struct {
	mu         sync.Mutex
	deliveries []bus.Delivery
}

func (c *collector) handle(_ context.Context, d bus.Delivery) error {
	c.add(d)
	return nil
}

func (c *collector) add(d bus.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deliveries = append(c.deliveries, bus.Delivery{
		Events: slices.Clone(d.Events), Ranges: slices.Clone(d.Ranges), Heartbeats: slices.Clone(d.Heartbeats),
	})
}

// all are the deliveries as they came, repeats included.
func (c *collector) all() []bus.Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.deliveries)
}

// events are those of all deliveries, each id once, in the order of their first coming.
func (c *collector) events() []bus.Event {
	var es []bus.Event
	seen := make(map[string]bool)
	for _, d := range c.all() {
		for _, e := range d.Events {
			if !seen[e.ID] {
				seen[e.ID] = true
				es = append(es, e)
			}
		}
	}
	return es
}

// await waits until every one of want has come, and fails if anything else has. Where events repeat, copies of those
// that were published before may still come.
func (c *collector) await(k *kit, want []bus.Event, before ...bus.Event) {
	k.Helper()
	missing := func() []string { return without(ids(want), ids(c.events())) }
	k.Cleanup(func() {
		if k.Failed() {
			k.Logf("missing at the end: %d of %d", len(missing()), len(want))
		}
	})
	k.eventually(fmt.Sprintf("%d events arrive", len(want)), func() bool { return len(missing()) == 0 })
	extra := without(ids(c.events()), ids(want))
	if k.h.Repeats {
		extra = without(extra, ids(before))
	}
	if len(extra) > 0 {
		k.Errorf("%d events came that were not to come: %s …", len(extra), strings.Join(extra[:min(3, len(extra))], ", "))
	}
}

func ids(es []bus.Event) []string {
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = e.ID
	}
	return out
}

// without returns what of a is not in b.
func without(a, b []string) []string {
	in := make(map[string]bool, len(b))
	for _, s := range b {
		in[s] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return in[s] })
}
