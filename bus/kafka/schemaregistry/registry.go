package schemaregistry

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"

	sr "github.com/confluentinc/confluent-kafka-go/v2/schemaregistry"
	"github.com/tidings-dev/tidings/bus/kafka"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// New is what [kafka.WithSchemaRegistry] takes. It connects to nothing yet. It returns an error if the certificates that
// c names can't be read.
func New(c kafka.RegistryConfig) (kafka.Registry, error) {
	web, err := newTransport(c.CA)
	if err != nil {
		return nil, err
	}
	client, err := sr.NewClient(clientConfig(c, web))
	if err != nil {
		return nil, fmt.Errorf("schemaregistry: %w", err)
	}
	return newRegistry(client, web, c), nil
}

// clientConfig leaves waiting and asking again to whoever calls, whose context bounds them: the client sleeps without
// one. It goes on to the next URL only as often as it may ask again.
func clientConfig(c kafka.RegistryConfig, web *transport) *sr.Config {
	conf := sr.NewConfig(strings.Join(c.URLs, ","))
	conf.HTTPClient = web.client()
	conf.MaxRetries, conf.RetriesWaitMs, conf.RetriesMaxWaitMs = len(c.URLs)-1, 1, 1
	if c.Username != "" {
		conf.BasicAuthCredentialsSource, conf.BasicAuthUserInfo = "USER_INFO", c.Username+":"+c.Password
	}
	return conf
}

// registry is a kafka.Registry.
type registry struct {
	client   sr.Client
	web      *transport
	register bool
	byTopic  bool
	// files holds the schemas of all types: those that the program links, other ones in tests.
	files interface {
		FindDescriptorByName(protoreflect.FullName) (protoreflect.Descriptor, error)
	}

	known sync.Map      // frames ([]byte) by subject
	turn  chan struct{} // full while somebody asks: the client has one context at a time
}

func newRegistry(client sr.Client, web *transport, c kafka.RegistryConfig) *registry {
	return &registry{
		client: client, web: web, register: c.Register, byTopic: c.ByTopic,
		files: protoregistry.GlobalFiles, turn: make(chan struct{}, 1),
	}
}

// Frame implements kafka.Registry.
func (r *registry) Frame(ctx context.Context, topic, typ string) ([]byte, error) {
	subject := typ
	if r.byTopic {
		subject = topic + "-" + typ
	}
	if f, ok := r.known.Load(subject); ok {
		return f.([]byte), nil
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	// Where somebody had the same question before, the client remembers the answer.
	f, err := r.ask(ctx, subject, typ)
	if err != nil {
		return nil, fmt.Errorf("schemaregistry: type %s: %w", typ, err)
	}
	r.known.Store(subject, f)
	return f, nil
}

// ask makes the frame of a type. It must be the caller's turn.
func (r *registry) ask(ctx context.Context, subject, typ string) ([]byte, error) {
	m, err := r.message(typ)
	if err != nil {
		return nil, err
	}
	defer r.web.ask(ctx)()
	known, err := r.file(subject, m.ParentFile())
	if err != nil {
		return nil, err
	}
	if known.ID <= 0 || known.ID > math.MaxUint32 {
		return nil, fmt.Errorf("the registry gave subject %q the id %d, which no frame can hold", subject, known.ID)
	}
	return appendFrame(nil, uint32(known.ID), indexes(m)), nil
}

// appendFrame appends the registry's wire format; see bus/kafka, which reads it.
func appendFrame(b []byte, id uint32, indexes []int) []byte {
	b = binary.BigEndian.AppendUint32(append(b, 0), id)
	if len(indexes) == 1 && indexes[0] == 0 {
		return append(b, 0)
	}
	b = binary.AppendVarint(b, int64(len(indexes)))
	for _, i := range indexes {
		b = binary.AppendVarint(b, int64(i))
	}
	return b
}

// Close implements kafka.Registry.
func (r *registry) Close() { r.web.close() }
