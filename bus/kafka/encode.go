package kafka

import (
	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// encoder makes records of events, in one of CloudEvents' two modes. It is for one goroutine: librdkafka copies each
// record when it takes it, so all are made in the same memory.
type encoder struct {
	msg   ck.Message
	buf   []byte
	attrs []bus.Attribute // nil in structured mode

	frames frames // of the registry, in binary mode
}

// envelopeHeader is the header of a record in structured mode.
func envelopeHeader() ck.Header {
	return ck.Header{Key: headerContentType, Value: []byte(bus.TypeEnvelope)}
}

// newEncoder makes records for a topic; which partition is librdkafka's choice, by the key.
func newEncoder(topic, mode string) *encoder {
	c := &encoder{msg: ck.Message{
		TopicPartition: ck.TopicPartition{Topic: &topic, Partition: ck.PartitionAny},
	}}
	if mode == modeBinary {
		c.attrs = make([]bus.Attribute, 0, 16)
		c.msg.Headers = make([]ck.Header, 0, 16)
	} else {
		c.msg.Headers = []ck.Header{envelopeHeader()}
	}
	return c
}

// encode returns the record of e, which is valid until the next call. The record has no time: the broker's own
// counts.
//
// An event whose data is itself an event in some format goes out in structured mode always: in binary mode the data's
// media type is the record's, and every reader would take the event within for the one that was sent. So does one
// whose data is called Protobuf and can be none, for readers would take it for a registry's frame.
func (c *encoder) encode(e *bus.Event) *ck.Message {
	c.buf = append(c.buf[:0], e.Key...)
	frame := c.frames.of(e).bytes
	switch {
	case c.attrs == nil:
		c.structured(e)
	case isFormat([]byte(e.DataType)), frame == nil && isProtobuf(e) && len(e.Data) > 0 && e.Data[0] == frameMagic:
		c.msg.Headers = append(c.msg.Headers[:0], envelopeHeader())
		c.structured(e)
	default:
		c.binary(e, frame)
	}
	c.msg.Key = c.buf[:len(e.Key):len(e.Key)]
	c.msg.Opaque = e
	return &c.msg
}

// structured puts the whole event into the value. The header is the caller's.
func (c *encoder) structured(e *bus.Event) {
	c.buf = e.AppendEnvelope(c.buf)
	c.msg.Value = c.buf[len(e.Key):]
}

// binary makes headers of the attributes, and the data is the value, behind its frame where it has one.
//
// An event without data would have a null value, which a topic that is compacted takes for the deletion of all that
// its key has. But no data is what an empty message encodes to. So the value is empty then, and never null.
func (c *encoder) binary(e *bus.Event, frame []byte) {
	c.attrs, c.buf = e.AppendAttributes(c.attrs[:0], c.buf)
	c.msg.Headers = appendHeaders(c.msg.Headers[:0], c.attrs)
	switch {
	case frame != nil:
		from := len(c.buf)
		c.buf = append(append(c.buf, frame...), e.Data...)
		c.msg.Value = c.buf[from:]
	case e.Data == nil:
		c.msg.Value = []byte{}
	default:
		c.msg.Value = e.Data
	}
}
