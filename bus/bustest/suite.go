package bustest

import (
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Harness is how [Run] gets at a backend. Open and Guarantees must be set; each of the others is an ability, and
// the tests that need one that is not set are left out, by name, in the log.
type Harness struct {
	// Open opens a connection of its own to the one broker that all the tests share, by [bus.Open] or
	// [bus.Wrap] with opts. Run closes it.
	Open func(t *testing.T, opts ...bus.Option) bus.Bus
	// Guarantees are what the backend promises for a topic that it makes by itself. What is not set has to be
	// refused where a subscription requires it.
	Guarantees bus.Guarantees
	// Log says that the backend keeps a log: deliveries have ranges, Resume is asked, and what Open returns is
	// a [bus.Inspector]. A backend that keeps none, and is not Durable, is tested for saying so, and for telling
	// what it loses.
	Log bool
	// Put stores a record that need not be an event, as another program would. On a backend without a log, where a
	// record is nothing but its value, key is to be passed over.
	Put func(t *testing.T, topic, key string, value []byte)
	// SetDown takes the broker away, or gives it back with all that it had stored. It returns once it is so.
	SetDown func(t *testing.T, down bool)
	// Timeout is how long a test waits for what has to happen; 0 is 30 seconds.
	Timeout time.Duration
}

// test is one behaviour that the contract promises.
type test struct {
	name  string
	needs func(Harness) bool
	run   func(k *kit)
}

// Run tests a backend against the contract of package bus: Publisher, Subscriber, Subscription, Handler and
// Delivery. Topics and groups have fresh names, so that it can run again and again on one broker. Nothing in it
// waits for a fixed time.
func Run(t *testing.T, h Harness) {
	if h.Timeout == 0 {
		h.Timeout = 30 * time.Second
	}
	var leftOut []string
	for _, group := range [][]test{publishTests, deliveryTests, orderTests, groupTests, logTests, noLogTests, outageTests} {
		for _, tt := range group {
			if !tt.needs(h) {
				leftOut = append(leftOut, tt.name)
				continue
			}
			t.Run(tt.name, func(t *testing.T) { tt.run(newKit(t, h)) })
		}
	}
	if len(leftOut) > 0 {
		t.Logf("left out, for the backend or its harness has no such ability: %s", strings.Join(leftOut, ", "))
	}
}

func always(Harness) bool      { return true }
func ordered(h Harness) bool   { return h.Guarantees.OrderedByKey }
func grouped(h Harness) bool   { return h.Guarantees.Groups }
func keepsLog(h Harness) bool  { return h.Log && h.Guarantees.Durable }
func takesRaw(h Harness) bool  { return h.Put != nil }
func canGoDown(h Harness) bool { return h.SetDown != nil }
