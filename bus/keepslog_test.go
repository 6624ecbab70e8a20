package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// careless is a log that is not durable: it can be asked, if its broker is there.
type careless struct {
	fakeBus
	err error
}

func (c *careless) Partitions(ctx context.Context, _ ...string) ([]bus.Partition, error) {
	if ctx.Err() == nil {
		return nil, errors.New("it would wait for a broker")
	}
	return nil, c.err
}

func TestABusThatIsNotDurableMayKeepALogAllTheSame(t *testing.T) {
	forgetful := &fakeBus{guarantees: bus.Guarantees{OrderedByKey: true}}
	for name, c := range map[string]struct {
		bus  bus.Bus
		want bool
	}{
		"durable":                    {&fakeBus{guarantees: bus.All()}, true},
		"in memory":                  {bustest.NewRecorder(), true},
		"nobody to ask":              {forgetful, false},
		"nobody to ask, wrapped":     {bus.Wrap(forgetful), false},
		"a log whose broker is away": {&careless{err: context.Canceled}, true},
		"the same, wrapped":          {bus.Wrap(&careless{err: context.Canceled}), true},
		"it says that there is none": {&careless{err: fmt.Errorf("no log: %w", errors.ErrUnsupported)}, false},
	} {
		if got := bus.KeepsLog(c.bus); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
