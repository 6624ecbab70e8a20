package kafka

import (
	"bytes"
	"strings"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/serde"
	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestUnframe(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"the first message of a file", "\x00\x00\x00\x00\x01\x00payload", "payload"},
		{"that, written out", "\x00\x00\x00\x00\x01\x02\x00payload", "payload"},
		{"the second message", "\x00\x00\x00\x00\x01\x02\x02payload", "payload"},
		{"a nested one", "\x00\xff\xff\xff\xff\x06\x02\x04\x06payload", "payload"},
		{"far into its file", "\x00\x00\x00\x00\x01\x02\xac\x02payload", "payload"},
		{"an empty message", "\x00\x00\x00\x00\x01\x00", ""},
		{"a payload that begins like a frame is one by itself", "\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00x", "\x00\x00\x00\x00\x01\x00x"},
		{"no frame", "\x0a\x01x", "\x0a\x01x"},
		{"nothing", "", ""},
		{"the magic byte alone", "\x00", "\x00"},
		{"an id alone", "\x00\x00\x00\x00\x01", "\x00\x00\x00\x00\x01"},
		{"a shorter id", "\x00\x00\x00\x01", "\x00\x00\x00\x01"},
		{"a negative count", "\x00\x00\x00\x00\x01\x01payload", "\x00\x00\x00\x00\x01\x01payload"},
		{"a negative index", "\x00\x00\x00\x00\x01\x02\x01payload", "\x00\x00\x00\x00\x01\x02\x01payload"},
		{"more indexes than bytes", "\x00\x00\x00\x00\x01\x08\x02\x02", "\x00\x00\x00\x00\x01\x08\x02\x02"},
		{"an index without end", "\x00\x00\x00\x00\x01\x02\x80", "\x00\x00\x00\x00\x01\x02\x80"},
		{"a count beyond 64 bits", "\x00\x00\x00\x00\x01" + strings.Repeat("\xff", 10) + "x", "\x00\x00\x00\x00\x01" + strings.Repeat("\xff", 10) + "x"},
		{"the magic byte of another format", "\x01\x00\x00\x00\x01\x00payload", "\x01\x00\x00\x00\x01\x00payload"},
	} {
		if got := unframe([]byte(c.value)); string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// What frames are told from payloads by: nothing that begins with the byte 0 is a Protobuf message, whatever follows.
func TestNoMessageBeginsLikeAFrame(t *testing.T) {
	for second := range 256 {
		for _, rest := range []string{"", "\x00", "\x0a\x00", "\x00\x00\x00\x01\x00"} {
			b := append([]byte{0, byte(second)}, rest...)
			if proto.Unmarshal(b, &emptypb.Empty{}) == nil {
				t.Fatalf("%x is a message", b)
			}
		}
	}
	if err := proto.Unmarshal([]byte{0}, &emptypb.Empty{}); err == nil {
		t.Error("00 is a message")
	}
}

// FuzzUnframe holds the reading of frames to this: what it takes off is a prefix that Confluent's code reads as a frame
// of the same length; a payload without one stays; and a frame put before any payload comes off again, alone.
func FuzzUnframe(f *testing.F) {
	for _, s := range []string{"", "\x00", "\x0a\x01x", "\x00\x00\x00\x00\x01\x00x", "\x00\x00\x00\x00\x01\x04\x02\x02x", "\x00\x00\x00\x00\x01\x80\x00x"} {
		f.Add([]byte(s), uint32(7), []byte{1, 2})
	}
	f.Fuzz(func(t *testing.T, value []byte, id uint32, way []byte) {
		got := unframe(value)
		taken := len(value) - len(got)
		if !bytes.HasSuffix(value, got) || taken > 0 && value[0] != frameMagic {
			t.Fatalf("%x became %x", value, got)
		}
		if taken > 0 {
			s := serde.SchemaID{SchemaType: "PROTOBUF"}
			if n, err := s.FromBytes(value); err != nil || n != taken {
				t.Fatalf("%x: took %d bytes off, Confluent's code %d (%v)", value, taken, n, err)
			}
		}
		if num, _, n := protowire.ConsumeTag(value); n > 0 && num > 0 && taken > 0 {
			t.Fatalf("%x begins with field %d, and lost %d bytes", value, num, taken)
		}
		if framed := append(theirFrame(t, id|1, way), value...); !bytes.Equal(unframe(framed), value) {
			t.Fatalf("%x came out of %x", unframe(framed), framed)
		}
	})
}

// theirFrame is what Confluent's code puts before a message.
func theirFrame(t testing.TB, id uint32, way []byte) []byte {
	t.Helper()
	s := serde.SchemaID{SchemaType: "PROTOBUF", ID: int(id), MessageIndexes: []int{0}}
	for i, index := range way {
		if i == 0 {
			s.MessageIndexes = nil
		}
		s.MessageIndexes = append(s.MessageIndexes, int(index))
	}
	b, err := s.IDToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A frame is sought where a payload is Protobuf by what its publisher says, and nowhere else.
func TestOnlyProtobufIsUnframed(t *testing.T) {
	const framed = "\x00\x00\x00\x00\x01\x00payload"
	for kind, want := range map[string]string{
		"application/protobuf": "payload", "application/json": framed, "application/octet-stream": framed, "text/plain": framed, "": framed,
	} {
		m := sent(newEncoder("topic", modeBinary), full())
		m.Value, m.Headers = []byte(framed), required("content-type", kind)
		if kind == "" {
			m.Headers = required()
		}
		if e := decoded(m); e.Err != nil || string(e.Data) != want {
			t.Errorf("%q: %q, want %q: %v", kind, e.Data, want, e.Err)
		}
	}
	inside := full()
	inside.Data = []byte(framed)
	if e := decoded(sent(newEncoder("topic", modeStructured), inside)); string(e.Data) != framed {
		t.Errorf("in structured mode: %q", e.Data)
	}
}

// Whatever an event holds arrives as it is, also what is called Protobuf, is none, and looks like a frame.
func TestDataThatLooksLikeAFrameArrives(t *testing.T) {
	for _, data := range []string{"\x00\x00\x00\x00\x01\x00payload", "\x00", "\x00\x00\x00\x00\x01\x02\x02"} {
		for _, fs := range []frames{nil, {"users.events.v1.UserCreated": {bytes: []byte("\x00\x00\x00\x00\x07\x00")}}} {
			for _, kind := range []string{"", bus.TypeProtobuf, "application/json"} {
				e := full()
				e.Data, e.DataType = []byte(data), kind
				c := newEncoder("topic", modeBinary)
				c.frames = fs
				if got := decoded(sent(c, e)); got.Err != nil || string(got.Data) != data {
					t.Errorf("%q (%q), frames %v: %q, %v", data, kind, fs != nil, got.Data, got.Err)
				}
			}
		}
	}
}

func TestAFrameStandsBeforeThePayloadOnly(t *testing.T) {
	const prefix = "\x00\x00\x00\x00\x07\x02\x02"
	c := newEncoder("topic", modeBinary)
	c.frames = frames{"users.events.v1.UserCreated": {bytes: []byte(prefix)}}
	for _, data := range []string{"\x0a\x01x", ""} {
		e := full()
		e.Data = []byte(data)
		m := sent(c, e)
		if string(m.Value) != prefix+data || string(m.Key) != e.Key {
			t.Errorf("key %q, value %q", m.Key, m.Value)
		}
		bare := sent(newEncoder("topic", modeBinary), e)
		if diff := cmp.Diff(bare.Headers, m.Headers); diff != "" {
			t.Errorf("headers without (-) and with (+):\n%s", diff)
		}
		if got := decoded(m); !cmp.Equal(e, got, equateEmpty) || got.Data == nil {
			t.Errorf("%+v", got)
		}
	}
	other := full()
	other.DataType, other.Data = "application/json", []byte("{}")
	if m := sent(c, other); string(m.Value) != "{}" {
		t.Errorf("JSON has the value %q", m.Value)
	}
}
