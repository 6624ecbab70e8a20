package bustest

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Harness is how [Run] gets at a backend. Open and Guarantees must be set; each of the others is an ability, and
// the tests that need one that is not set are left out, by name, in the log. All but SetDown may be called from several
// tests at once.
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
	// SetDown takes the broker away, or gives it back with all that it had stored. It returns once it is so. Nothing
	// else uses the broker meanwhile.
	SetDown func(t *testing.T, down bool)
	// OpenImpatient opens a connection like Open whose backend loses patience with a subscriber after limit: Kafka's
	// max.poll.interval, or a time within which a connection has to show that it is alive. A handler that takes half
	// as long again is tried on it, so limit is what the test costs.
	OpenImpatient func(t *testing.T, opts ...bus.Option) (b bus.Bus, limit time.Duration)
	// Repeats says that events come and are stored more than once, and that subscriptions are cut and stand again, though
	// nothing failed, as the contract allows. Without it a delivery that comes again in a quiet group is a fault.
	Repeats bool
	// Timeout is how long a test waits for what has to happen; 0 is 30 seconds.
	Timeout time.Duration
}

// test is one behaviour that the contract promises.
type test struct {
	name  string
	needs func(Harness) bool
	run   func(k *kit)
}

// atOnce is how many tests run side by side. Most of them wait: for a group to be joined, for a retry, for a handler
// to be cut short. So it is no matter of how many processors there are, as -parallel is.
const atOnce = 8

// Run tests a backend against the contract of package bus: Publisher, Subscriber, Subscription, Handler and
// Delivery. Topics and groups have fresh names, so that it can run again and again on one broker. Tests run side by
// side, but for those that take the broker away or count goroutines; Run returns when all have ended.
func Run(t *testing.T, h Harness) {
	if h.Timeout == 0 {
		h.Timeout = 30 * time.Second
	}
	together := slices.Concat(publishTests, deliveryTests, orderTests, groupTests, logTests, noLogTests, deadlineTests, slowTests)
	runAll(t, h, atOnce, together)
	alone := slices.Concat(closeTests, outageTests)
	runAll(t, h, 1, alone)
	var leftOut []string
	for _, tt := range slices.Concat(together, alone) {
		if !tt.needs(h) {
			leftOut = append(leftOut, tt.name)
		}
	}
	if len(leftOut) > 0 {
		t.Logf("left out, for the backend or its harness has no such ability: %s", strings.Join(leftOut, ", "))
	}
}

// runAll runs those tests that the harness can run, at most limit at a time.
func runAll(t *testing.T, h Harness, limit int, tests []test) {
	var running sync.WaitGroup
	free := make(chan struct{}, limit)
	for _, tt := range tests {
		if !tt.needs(h) {
			continue
		}
		free <- struct{}{}
		running.Go(func() {
			defer func() { <-free }()
			t.Run(tt.name, func(t *testing.T) { tt.run(newKit(t, h)) })
		})
	}
	running.Wait()
}

func always(Harness) bool      { return true }
func ordered(h Harness) bool   { return h.Guarantees.OrderedByKey }
func grouped(h Harness) bool   { return h.Guarantees.Groups }
func keepsLog(h Harness) bool  { return h.Log && h.Guarantees.Durable }
func takesRaw(h Harness) bool  { return h.Put != nil }
func canGoDown(h Harness) bool { return h.SetDown != nil }
func impatient(h Harness) bool { return h.OpenImpatient != nil }
