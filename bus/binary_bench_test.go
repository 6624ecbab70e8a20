package bus_test

import (
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// The counterparts of BenchmarkAppendEnvelope and BenchmarkParseEnvelope.

func BenchmarkAppendAttributes(b *testing.B) {
	e := benchEvent()
	all, mem := e.AppendAttributes(nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		all, mem = e.AppendAttributes(all[:0], mem[:0])
	}
	b.SetBytes(int64(len(mem) + len(e.Data)))
}

func BenchmarkParseAttributes(b *testing.B) {
	e := benchEvent()
	all, mem := e.AppendAttributes(nil, nil)
	b.SetBytes(int64(len(mem) + len(e.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.ParseAttributes(all, e.Data); err != nil {
			b.Fatal(err)
		}
	}
}
