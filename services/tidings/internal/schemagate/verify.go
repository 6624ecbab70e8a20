package schemagate

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tidings-dev/tidings/bus"
)

// Events reads the event from the bytes of either mode, with the bus of today.
func (g *Golden) Events() (structured, binary bus.Event, err error) {
	if structured, err = bus.ParseEnvelope(g.Structured); err != nil {
		return structured, binary, fmt.Errorf("%s: %w", fileStructured, err)
	}
	var attributes []bus.Attribute
	for _, h := range g.Headers {
		name, ce := strings.CutPrefix(h.Name, "ce_")
		if h.Name == headerOf("datacontenttype") {
			name, ce = "datacontenttype", true
		}
		if ce {
			attributes = append(attributes, bus.Attribute{Name: name, Value: h.Value})
		}
	}
	if binary, err = bus.ParseAttributes(attributes, g.Payload); err != nil {
		return structured, binary, fmt.Errorf("%s: %w", fileHeaders, err)
	}
	return structured, binary, nil
}

// Verify reads the golden event with the bus of today and its payload as a message of type m, and reports every way in
// which that is not what event.json says: attributes or data that differ, between the modes too, and fields that m doesn't know. It
// returns the message, nil where that can't be read at all. resolver is asked for what an Any holds.
func (g *Golden) Verify(m protoreflect.MessageType, resolver Resolver) (protoreflect.Message, error) {
	structured, binary, err := g.Events()
	if err != nil {
		return nil, err
	}
	faults := []error{checkEventVersion(structured.Version), g.verifyEvent(fileStructured, structured), g.verifyEvent(fileHeaders, binary)}
	message, want := m.New(), m.New()
	if err := (proto.UnmarshalOptions{Resolver: resolver}).Unmarshal(g.Payload, message.Interface()); err != nil {
		return nil, errors.Join(append(faults, fmt.Errorf("%s: %w", filePayload, err))...)
	}
	for _, where := range unknowns(message, "") {
		faults = append(faults, fmt.Errorf("%s: it has fields that %s%s doesn't know", filePayload, g.Type, where))
	}
	if err := (protojson.UnmarshalOptions{Resolver: resolver}).Unmarshal(g.Data, want.Interface()); err != nil {
		faults = append(faults, fmt.Errorf("%s: data: %w", fileJSON, err))
	} else if !proto.Equal(message.Interface(), want.Interface()) {
		faults = append(faults, fmt.Errorf("%s is read as %v, and %s says %v", filePayload, message.Interface(), fileJSON, want.Interface()))
	}
	return message, errors.Join(faults...)
}

// MaxVersion is the highest version that a recorded event may have. Tests publish all versions before it, and a higher
// one shows nothing more of the event's shape.
const MaxVersion = 1000

func checkEventVersion(v uint64) error {
	if v > MaxVersion {
		return fmt.Errorf("version %d: a recorded event has one of 1 to %d, for every version before it is published in tests", v, MaxVersion)
	}
	return nil
}

// Resolver finds what an Any or an extension is.
type Resolver interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}

// verifyEvent compares an event, as it was read, with event.json and the payload.
func (g *Golden) verifyEvent(file string, e bus.Event) error {
	var faults []error
	if got := attributesOf(&e); !maps.Equal(got, g.Attributes) {
		faults = append(faults, fmt.Errorf("%s is read as %v, and %s says %v", file, got, fileJSON, g.Attributes))
	}
	if !bytes.Equal(e.Data, g.Payload) {
		faults = append(faults, fmt.Errorf("%s: its data is not %s, byte for byte", file, filePayload))
	}
	if e.Type != g.Type {
		faults = append(faults, fmt.Errorf("%s: it is a %s, in the folder of %s", file, e.Type, g.Type))
	}
	return errors.Join(faults...)
}

// attributesOf is an event's attributes by their names.
func attributesOf(e *bus.Event) map[string]string {
	attributes, _ := e.AppendAttributes(nil, nil)
	all := make(map[string]string, len(attributes))
	for _, a := range attributes {
		all[a.Name] = string(a.Value)
	}
	return all
}
