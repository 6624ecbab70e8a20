package kafka

import (
	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// headerContentType says what a record holds, in CloudEvents' binding for Kafka.
const headerContentType = "content-type"

// encoder makes records of events, in CloudEvents' structured mode. It is for one goroutine: librdkafka copies each
// record when it takes it, so all are made in the same memory.
type encoder struct {
	msg ck.Message
	buf []byte
}

// newEncoder makes records for a topic; which partition is librdkafka's choice, by the key.
func newEncoder(topic string) *encoder {
	return &encoder{msg: ck.Message{
		TopicPartition: ck.TopicPartition{Topic: &topic, Partition: ck.PartitionAny},
		Headers:        []ck.Header{{Key: headerContentType, Value: []byte(bus.TypeEnvelope)}},
	}}
}

// encode returns the record of e, which is valid until the next call. The record has no time: the broker's own
// counts.
func (c *encoder) encode(e *bus.Event) *ck.Message {
	c.buf = append(c.buf[:0], e.Key...)
	c.buf = e.AppendEnvelope(c.buf)
	c.msg.Key = c.buf[:len(e.Key):len(e.Key)]
	c.msg.Value = c.buf[len(e.Key):]
	c.msg.Opaque = e
	return &c.msg
}
