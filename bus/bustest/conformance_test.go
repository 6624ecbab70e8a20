package bustest_test

import (
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

func TestRecorderKeepsTheContract(t *testing.T) {
	r := bustest.NewRecorder()
	bustest.Run(t, bustest.Harness{
		Open: func(t *testing.T, opts ...bus.Option) bus.Bus {
			b, err := bus.Open(t.Context(), "recorder://memory", append(opts, r.Backend())...)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Guarantees: bus.All(),
		Log:        true,
		Put: func(_ *testing.T, topic, key string, value []byte) {
			r.PutRaw(topic, key, value)
		},
		SetDown: func(_ *testing.T, down bool) { r.SetDown(down) },
	})
}
