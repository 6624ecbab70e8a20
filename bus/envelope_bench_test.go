package bus_test

import (
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/binding/format/protobuf/v2/pb"
	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
)

// benchEvent is an event as the users service publishes them: 200 bytes of data.
func benchEvent() bus.Event {
	e := valid()
	e.Version, e.Seq, e.Data = 12, 123456, make([]byte, 200)
	return e
}

// runtimeEvent is the same event as generated code has it.
func runtimeEvent(b *testing.B) *pb.CloudEvent {
	e, m := benchEvent(), &pb.CloudEvent{}
	if err := proto.Unmarshal(e.AppendEnvelope(nil), m); err != nil {
		b.Fatal(err)
	}
	return m
}

func BenchmarkAppendEnvelope(b *testing.B) {
	e := benchEvent()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendEnvelope(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkParseEnvelope(b *testing.B) {
	e := benchEvent()
	buf := e.AppendEnvelope(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.ParseEnvelope(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// The protobuf runtime on the same message, to compare with. The marshalled size is that of AppendEnvelope.
func BenchmarkRuntimeMarshal(b *testing.B) {
	m := runtimeEvent(b)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], m); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkRuntimeUnmarshal(b *testing.B) {
	e := benchEvent()
	buf := e.AppendEnvelope(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		var m pb.CloudEvent
		if err := proto.Unmarshal(buf, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	e := benchEvent()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewEvent(b *testing.B) {
	e := benchEvent()
	m := &pb.CloudEvent{Id: e.ID, Source: e.Source, Type: e.Type, Data: &pb.CloudEvent_BinaryData{BinaryData: e.Data}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.NewEvent("/users", e.Key, 1, m); err != nil {
			b.Fatal(err)
		}
	}
}

// One event is what a relay does for each: read, number, write. It must cost little beside the broker.
func BenchmarkForward(b *testing.B) {
	e := benchEvent()
	stored := e.AppendEnvelope(nil)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	start := time.Now()
	n := 0
	for b.Loop() {
		e, err := bus.ParseEnvelope(stored)
		if err != nil {
			b.Fatal(err)
		}
		e.Seq++
		buf = e.AppendEnvelope(buf[:0])
		n++
	}
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "events/s")
}
