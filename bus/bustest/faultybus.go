package bustest

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// ErrFault is wrapped by every error that a [FaultyBus] made up.
var ErrFault = errors.New("a fault made by bustest.Faults")

// Faults says what is to go wrong on a bus, for tests of what publishes and what subscribes:
//
//	b := bustest.Faults{Seed: 1, RepeatDelivery: 0.1, FailAfter: 0.1, Cut: 0.01}.Wrap(bustest.NewRecorder())
//
// Each rate is the chance of a single event, from 0 (never, the default) to 1 (always). A call of Publish, or a
// delivery, is struck where one of its events is. Which events are struck hangs on Seed and on their ids alone, neither
// on time nor on the order of calls: a test that publishes the same events, whose ids [bus.NewEvent] derives, has the
// same ones struck each time, however its goroutines run. What comes of it, such as how large a delivery is, may differ.
//
// A fault strikes an event once (in each group, where it is one of deliveries), so that what is tried again gets
// through and every test comes to an end. Only Drop and Reorder do the same again each time.
//
// All but RefusePublish, LoseAck and Drop is within what package bus allows every backend, and with those rates the
// bus passes [Run] with Harness.Repeats. RefusePublish and LoseAck are failures that a Publisher tells of. Drop is a
// promise broken.
type Faults struct {
	Seed uint64

	// RepeatPublish stores a call's events twice, the whole call once more after the first time, as a retry does.
	// Publish tells of the second copy.
	RepeatPublish float64
	// RefusePublish fails an event before it is stored, and with it the later ones of its key in the call.
	RefusePublish float64
	// LoseAck fails an event, and the later ones of its key in the call, after they are stored: the error wraps
	// [ErrStored].
	LoseAck float64

	// RepeatDelivery calls the handler once more with a delivery that it has done.
	RepeatDelivery float64
	// FailBefore fails a delivery without the handler being called. It comes again.
	FailBefore float64
	// FailAfter fails a delivery that the handler has done, as when its commit was made and the answer was lost. It
	// comes again.
	FailAfter float64
	// Reorder mixes the events of a delivery across keys. Those of one key keep their order. A delivery that comes
	// again is mixed the same way. One with an unreadable record, whose key nobody knows for sure, is left alone.
	Reorder float64
	// Cut ends the subscription just before the handler is called, and subscribes again when it has returned: OnReady
	// hears of both. What the handler didn't finish comes again. On a bus that isn't Durable OnGap hears of a loss.
	Cut float64
	// Drop takes an event out of its deliveries, in every group, while its range is told as read. Nobody is told but
	// FaultCounts.Dropped.
	Drop float64

	// Delay holds up a call of Publish, or a delivery before the handler is called, by a time up to MaxDelay, unless
	// its context ends.
	Delay    float64
	MaxDelay time.Duration // 0 is 10 ms
}

// FaultCounts is how often each fault of [Faults] has struck.
type FaultCounts struct {
	RepeatPublish, Delay                                int // calls; Delay counts deliveries too
	RefusePublish, LoseAck                              int // events, those that failed with an earlier one of their key included
	RepeatDelivery, FailBefore, FailAfter, Cut, Reorder int // deliveries; in Reorder those that come again count again
	Drop                                                int // events, once for each group
}

// FaultyBus is a bus on which things go wrong as [Faults] say. It is a [bus.Inspector] too, and safe for concurrent
// use. What it does not bend is that of the bus within.
type FaultyBus struct {
	bus.Bus
	faults Faults

	mu     sync.Mutex
	struck map[strike]bool
	counts FaultCounts
}

// strike is a fault that has hit an event.
type strike struct{ fault, scope, id string }

// Wrap puts the faults around b, which may be a FaultyBus itself; then the faults of both happen. Closing the one that
// is returned closes b. It starts nothing.
func (f Faults) Wrap(b bus.Bus) *FaultyBus {
	if f.MaxDelay == 0 {
		f.MaxDelay = 10 * time.Millisecond
	}
	// A backend that was not made by bus.Open tries no delivery again. To wrap twice does no harm.
	b = bus.Wrap(b, bus.WithLogger(slog.New(slog.DiscardHandler)))
	return &FaultyBus{Bus: b, faults: f, struck: make(map[strike]bool)}
}

// Partitions says where the logs of the bus within stand; see [bus.Inspector].
func (f *FaultyBus) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	return f.Bus.(bus.Inspector).Partitions(ctx, topics...)
}

// Counts returns how often each fault has struck so far.
func (f *FaultyBus) Counts() FaultCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// count adds to one of f.counts.
func (f *FaultyBus) count(counter *int, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*counter += n
}

// dice is the source of all that is decided about an event by one kind of fault.
func (f *FaultyBus) dice(fault, id string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(fault + "\x00" + id))
	return rand.New(rand.NewPCG(f.faults.Seed, h.Sum64()))
}

// chosen reports whether the fault is to strike e, and returns the dice that said so.
func (f *FaultyBus) chosen(fault string, rate float64, e *bus.Event) (*rand.Rand, bool) {
	if rate <= 0 {
		return nil, false
	}
	dice := f.dice(fault, identity(e))
	return dice, dice.Float64() < rate
}

// identity is what tells e from other events, in every run of a test.
func identity(e *bus.Event) string {
	if e.Err != nil {
		return e.Key + "\x00" + string(e.Data)
	}
	return e.Source + "\x00" + e.ID
}

// once reports whether the fault strikes e now: it is chosen, and wasn't struck before within scope.
func (f *FaultyBus) once(fault, scope string, rate float64, e *bus.Event) (*rand.Rand, bool) {
	dice, ok := f.chosen(fault, rate, e)
	if !ok {
		return nil, false
	}
	s := strike{fault, scope, identity(e)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.struck[s] {
		return nil, false
	}
	f.struck[s] = true
	return dice, true
}

// any reports whether the fault strikes any of es now, which uses up all that it would strike. The dice are those of
// the first.
func (f *FaultyBus) any(fault, scope string, rate float64, es []bus.Event) (first *rand.Rand, ok bool) {
	if rate <= 0 {
		return nil, false
	}
	for i := range es {
		if dice, hit := f.once(fault, scope, rate, &es[i]); hit && !ok {
			first, ok = dice, true
		}
	}
	return first, ok
}

// delay holds up what es are about, until ctx ends at most.
func (f *FaultyBus) delay(ctx context.Context, scope string, es []bus.Event) {
	dice, ok := f.any("delay", scope, f.faults.Delay, es)
	if !ok {
		return
	}
	f.count(&f.counts.Delay, 1)
	timer := time.NewTimer(time.Duration(dice.Float64() * float64(f.faults.MaxDelay)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
