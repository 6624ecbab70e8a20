package schemagate

import (
	"cmp"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tidings-dev/tidings/bus"
)

// compose makes a golden event that says m.
func compose(r Recording, s *schema, name string, m protoreflect.Message) (golden Golden, err error) {
	golden = Golden{Type: r.Type, Case: name}
	if err := CheckCase(name); err != nil {
		return golden, err
	}
	e, err := eventOf(r, name, m)
	if err != nil {
		return golden, err
	}
	golden.Payload, golden.Structured, golden.Attributes = e.Data, e.AppendEnvelope(nil), attributesOf(&e)
	attributes, _ := e.AppendAttributes(nil, nil)
	for _, a := range attributes {
		golden.Headers = append(golden.Headers, bus.Attribute{Name: headerOf(a.Name), Value: a.Value})
	}
	// By the names of the .proto files, which are those of its comments, and of what the gate says is lacking.
	golden.Data, err = protojson.MarshalOptions{UseProtoNames: true, Resolver: s.types}.Marshal(m.Interface())
	if err != nil {
		return golden, err
	}
	// What isn't read as what it says must not be written, for it would stay for ever.
	_, err = golden.Verify(m.Type(), s.types)
	return golden, err
}

// eventOf puts m into an envelope: about whom it says it is, in the version that it says.
func eventOf(r Recording, name string, m protoreflect.Message) (bus.Event, error) {
	key, v := said(m)
	if err := checkEventVersion(v); err != nil {
		return bus.Event{}, fmt.Errorf("--json: %w", err)
	}
	owner, _, _ := strings.Cut(r.Type, ".")
	e, err := bus.NewEvent("/"+owner, cmp.Or(key, exampleKey(r.Type, name)), cmp.Or(v, defaultVersion(r.Type)), m.Interface())
	if err != nil {
		return e, err
	}
	e.Time, e.Ext = exampleTime(), r.Ext
	if e.Data, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m.Interface()); err != nil {
		return e, err
	}
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("--ext: %w", err)
	}
	return e, nil
}

// said finds the key and the version in a message, or in a message within it, as an event of a whole user has them.
func said(m protoreflect.Message) (key string, v uint64) {
	read := func(m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		if f := fields.ByName(keyField); f != nil && f.Kind() == protoreflect.StringKind && !f.IsList() {
			key = cmp.Or(key, m.Get(f).String())
		}
		if f := fields.ByName(versionField); f != nil && f.Kind() == protoreflect.Uint64Kind && !f.IsList() {
			v = cmp.Or(v, m.Get(f).Uint())
		}
	}
	read(m)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message() != nil && !f.IsList() && !f.IsMap() && m.Has(f) {
			read(m.Get(f).Message())
		}
	}
	return key, v
}

// defaultVersion is 1 for what begins a history, and for everything else the next.
func defaultVersion(typ string) uint64 {
	if strings.HasSuffix(typ, "Created") {
		return 1
	}
	return 2
}
