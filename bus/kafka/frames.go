package kafka

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/encoding/protowire"
)

// A schema registry's frame stands before a payload, in its wire format for Protobuf: the byte 0; the schema's id in
// four bytes, big-endian; and the way to the message in the schema's file, for which message of a file the bytes are
// of they don't say: how many indexes there are, then each, all as zigzag varints. The first message of a file, whose
// indexes are [0], is the single byte 0 instead.
//
// A frame is told from a payload by its first byte. A Protobuf message begins with a field's tag, whose upper bits are
// the field's number, and number 0 is none: no message begins with the byte 0, and every parser refuses one that does.
// An empty message has no bytes, and so no first one. So frames need no setting to be read, no header and no registry:
// every reader takes them off, and reads what was published without them on the same topic too.
const (
	frameMagic = 0
	frameID    = 4 // bytes
)

// unframe returns the payload behind the frame that value begins with, or value where that is none. What begins like
// one and isn't one stays as it is: a reader that can't decode it keeps what there was.
//
// The schema's id and the indexes are passed over. They say which message of which file the writer had, and only the
// registry knows that file: where messages moved within it, other indexes mean the same type. What the event is, its
// type says, which travels beside them.
func unframe(value []byte) []byte {
	if len(value) <= 1+frameID || value[0] != frameMagic {
		return value
	}
	rest := value[1+frameID:]
	count, n := consumeIndex(rest)
	if n < 0 {
		return value
	}
	for rest = rest[n:]; count > 0; count-- {
		if _, n = consumeIndex(rest); n < 0 {
			return value
		}
		rest = rest[n:]
	}
	return rest
}

// consumeIndex reads a zigzag varint that is none below zero; n is its size, negative where there is none.
func consumeIndex(b []byte) (index int64, n int) {
	v, n := protowire.ConsumeVarint(b)
	if index = protowire.DecodeZigZag(v); index < 0 {
		return 0, -1
	}
	return index, n
}

// frames are what stands before the payloads of one call of Publish, by type. It is nil without a registry.
type frames map[string]frame

// frame is a type's frame, or why the registry has none for it.
type frame struct {
	bytes []byte
	err   error
}

// isProtobuf reports whether the data of e is a Protobuf message, by what its publisher says.
func isProtobuf(e *bus.Event) bool { return e.DataType == "" || e.DataType == bus.TypeProtobuf }

// of returns the frame of e. The registry knows messages only: other data goes as it is.
func (fs frames) of(e *bus.Event) frame {
	if fs == nil || !isProtobuf(e) {
		return frame{}
	}
	return fs[e.Type]
}

// frames asks the registry for the frames of all types of events, and waits while it is away, as for a broker. What it
// refuses is an error of the events of that type, and no other's.
func (c *connection) frames(ctx context.Context, topic string, events []bus.Event) (frames, error) {
	if c.registry == nil {
		return nil, nil
	}
	ctx, cancel := c.calls.Bound(ctx)
	defer cancel()
	known := make(frames)
	for i := range events {
		e := &events[i]
		if _, asked := known[e.Type]; asked || !isProtobuf(e) {
			continue
		}
		f, err := c.frame(ctx, topic, e.Type)
		if err != nil && !bus.IsPermanent(err) {
			return nil, err
		}
		known[e.Type] = frame{f, err}
	}
	return known, nil
}

// frame asks for the frame of a type until there is an answer or ctx ends. It logs what it waits for, now and then.
func (c *connection) frame(ctx context.Context, topic, typ string) ([]byte, error) {
	delays := newDelays()
	for {
		f, err := c.askRegistry(ctx, topic, typ)
		if err == nil || bus.IsPermanent(err) {
			c.throttle.again(paramRegistry)
			return f, err
		}
		if ctx.Err() == nil {
			c.throttle.Log(slog.LevelWarn, paramRegistry, "waiting for the schema registry; what is published waits", "type", typ, "err", err)
		}
		if !sleep(ctx, delays.NextBackOff()) {
			return nil, fmt.Errorf("%w; waiting for the schema registry: %w", context.Cause(ctx), err)
		}
	}
}

// askRegistry asks once, for a bounded time.
func (c *connection) askRegistry(ctx context.Context, topic, typ string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return c.registry.Frame(ctx, topic, typ)
}
