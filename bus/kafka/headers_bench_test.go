package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// usual is an event like those of a service, with 200 bytes of data.
func usual() bus.Event {
	return bus.Event{
		ID: "5f0d3a52-9f2b-5c07-9d1c-000000000001", Source: "/users", Type: "users.events.v1.UserCreated",
		Key: "01932b5e-7a00-7000-8000-000000000001", Version: 1, Time: time.Unix(1_763_800_000, 123_456_789).UTC(),
		Data: []byte(strings.Repeat("d", 200)),
	}
}

// BenchmarkEncode makes records of events, without the client.
func BenchmarkEncode(b *testing.B) {
	for _, mode := range []string{modeStructured, modeBinary} {
		b.Run(mode, func(b *testing.B) {
			e, c := usual(), newEncoder("topic", mode)
			b.ReportAllocs()
			for b.Loop() {
				c.encode(&e)
			}
		})
	}
}

// BenchmarkDecode makes events of records, without the client.
func BenchmarkDecode(b *testing.B) {
	for _, mode := range []string{modeStructured, modeBinary} {
		b.Run(mode, func(b *testing.B) {
			m := sent(newEncoder("topic", mode), usual())
			var e bus.Event
			b.ReportAllocs()
			for b.Loop() {
				decode(m, &e)
			}
			if e.Err != nil {
				b.Fatal(e.Err)
			}
		})
	}
}
