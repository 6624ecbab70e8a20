package bus_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cloudevents/sdk-go/binding/format/protobuf/v2/pb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
)

// FuzzParseEnvelope holds the parser to this, whatever it is given: it doesn't panic and doesn't change its input;
// what it took is the same event after it was written and read again; and where the protobuf runtime reads the
// message too, both have read the same.
func FuzzParseEnvelope(f *testing.F) {
	for _, e := range samples() {
		if b := e.AppendEnvelope(nil); len(b) < 2000 {
			f.Add(b)
			f.Add(b[:len(b)/2])
			f.Add(append(b, b...))
		}
	}
	f.Add([]byte(nil))
	f.Add([]byte("{}"))
	// Attributes without a value, twice, in a group, and with a length beyond the end.
	f.Add([]byte("\x0a\x01i\x12\x02/s\x1a\x031.0\x22\x01t\x2a\x03\x0a\x01n\x2a\x03\x0a\x01n"))
	f.Add([]byte("\x0a\x01i\x12\x02/s\x1a\x031.0\x22\x01t\x2a\x0b\x0a\x04time\x12\x03\x3a\x01\x08"))
	f.Add([]byte("\x0a\x01i\x12\x02/s\x1a\x031.0\x22\x01t\x2b\x0a\x01n\x2c"))
	f.Add([]byte("\x0a\x01i\x12\x02/s\x1a\x031.0\x22\x01t\x42\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		e, err := bus.ParseEnvelope(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, bus.ErrNotEvent) {
				t.Fatalf("error %v isn't ErrNotEvent", err)
			}
			return
		}
		checkStable(t, e)
		checkAgainstRuntime(t, b, e)
	})
}

func checkStable(t *testing.T, e bus.Event) {
	written := e.AppendEnvelope(nil)
	if size := e.Size(); len(written)+len(e.Key) > size {
		t.Fatalf("it takes %d bytes, and Size is %d", len(written)+len(e.Key), size)
	}
	again, err := bus.ParseEnvelope(written)
	if err != nil {
		t.Fatalf("it can't be read again: %v\n%+v", err, e)
	}
	if diff := cmp.Diff(e, again, equateEmpty); diff != "" {
		t.Fatalf("read (-), and read again (+):\n%s", diff)
	}
	if twice := again.AppendEnvelope(nil); !bytes.Equal(written, twice) {
		t.Fatalf("written\n%x, and written again\n%x", written, twice)
	}
}

func checkAgainstRuntime(t *testing.T, b []byte, e bus.Event) {
	var m pb.CloudEvent
	if proto.Unmarshal(b, &m) != nil {
		return // the runtime is stricter about fields that we pass over
	}
	if m.GetId() != e.ID || m.GetSource() != e.Source || m.GetType() != e.Type {
		t.Fatalf("read %q %q %q, the runtime %q %q %q", e.ID, e.Source, e.Type, m.GetId(), m.GetSource(), m.GetType())
	}
	var data []byte
	switch d := m.GetData().(type) {
	case *pb.CloudEvent_BinaryData:
		data = d.BinaryData
	case *pb.CloudEvent_TextData:
		data = []byte(d.TextData)
	case *pb.CloudEvent_ProtoData:
		data = d.ProtoData.GetValue()
	}
	if !bytes.Equal(data, e.Data) {
		t.Fatalf("read data %x, the runtime %x", e.Data, data)
	}
}
