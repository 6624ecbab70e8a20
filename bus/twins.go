package bus

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// attrAlternatives is the CloudEvents extension in which twins name one another: the types of all events that tell of
// the same version, best first, with a comma in between.
const attrAlternatives = "alternatives"

// Bounds of what is taken from the extension, whoever wrote it: entries, and bytes of the whole.
const (
	maxAlternatives     = 16
	maxAlternativesSize = 16 << 10
)

// NewTwins makes the events that tell of one version of a key in several ways, for as long as not all readers have moved
// from one type to the next: one event of each message, best first. Publish them in this order, and together, as in one
// call of bus/outbox's Add.
//
// They have one source, key, version and time, and each its own ID, as from [NewEvent]. Each names the types of all in
// the extension "alternatives", see [Event.Alternatives]; one message alone is an event without it. A reader takes the
// first that it can read, and tells by the version that it has done the others: so v must be above 0. At most 16
// messages of as many types are taken, and what NewEvent refuses is refused.
func NewTwins(source, key string, v uint64, messages ...proto.Message) ([]Event, error) {
	types, err := twinTypes(v, messages)
	if err != nil {
		return nil, fmt.Errorf("bus: new twins: %w", err)
	}
	events := make([]Event, len(messages))
	for i, m := range messages {
		if events[i], err = NewEvent(source, key, v, m); err != nil {
			return nil, err
		}
		if events[i].Time = events[0].Time; len(messages) == 1 {
			continue
		}
		e := &events[i]
		e.Ext = map[string]string{attrAlternatives: strings.Join(types, ",")}
		if err := e.Validate(); err != nil { // it has grown
			return nil, fmt.Errorf("bus: new twins: %s: %w", e.Type, err)
		}
		if !slices.Equal(e.Alternatives(), types) {
			return nil, fmt.Errorf("bus: new twins: the names of the types have more than %d bytes", maxAlternativesSize)
		}
	}
	return events, nil
}

// twinTypes returns the types of messages, and refuses what can't be twins.
func twinTypes(v uint64, messages []proto.Message) ([]string, error) {
	var faults []error
	if v == 0 {
		faults = append(faults, errors.New("the version is 0, and twins are told by it"))
	}
	if n := len(messages); n == 0 || n > maxAlternatives {
		return nil, errors.Join(append(faults, fmt.Errorf("there are %d messages; it must be 1 to %d", n, maxAlternatives))...)
	}
	types := make([]string, 0, len(messages))
	for i, m := range messages {
		if m == nil {
			faults = append(faults, fmt.Errorf("message %d is nil", i))
			continue
		}
		name := string(m.ProtoReflect().Descriptor().FullName())
		if slices.Contains(types, name) {
			faults = append(faults, fmt.Errorf("two messages are of type %s", name))
		}
		types = append(types, name)
	}
	return types, errors.Join(faults...)
}

// Alternatives returns the types of all events that tell of the same version of the key, best first and e's own among
// them, as the publisher says in the extension "alternatives"; nil where it says nothing, which is so for an event
// that has no twins. Anybody may write anything there: of a value of any length at most 16 types are returned, none of
// them empty or in blanks, and nothing is promised of them, not even that e's own is among them.
func (e *Event) Alternatives() []string {
	value := e.Ext[attrAlternatives]
	if len(value) > maxAlternativesSize {
		value = value[:maxAlternativesSize]
		value = value[:strings.LastIndexByte(value, ',')+1] // the last one may have been cut
	}
	var types []string
	for len(value) > 0 && len(types) < maxAlternatives {
		var name string
		name, value, _ = strings.Cut(value, ",")
		if name = strings.TrimSpace(name); name != "" {
			types = append(types, name)
		}
	}
	return types
}
