package bustest_test

import (
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func TestRecorderKeepsTheContract(t *testing.T) { bustest.Run(t, recorderHarness()) }

// recorderHarness is about a Recorder of its own, with every ability there is. A handler may take as long as it likes
// there, which is tried all the same.
func recorderHarness() bustest.Harness {
	r := bustest.NewRecorder()
	open := func(t *testing.T, opts ...bus.Option) bus.Bus {
		b, err := bus.Open(t.Context(), "recorder://memory", append(opts, r.Backend())...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return bustest.Harness{
		Open: open,
		OpenImpatient: func(t *testing.T, opts ...bus.Option) (bus.Bus, time.Duration) {
			return open(t, opts...), 100 * time.Millisecond
		},
		Guarantees: bus.All(),
		Log:        true,
		Put: func(_ *testing.T, topic, key string, value []byte) {
			r.PutRaw(topic, key, value)
		},
		SetDown: func(_ *testing.T, down bool) { r.SetDown(down) },
	}
}
