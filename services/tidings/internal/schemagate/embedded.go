package schemagate

import (
	"fmt"
	"path/filepath"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkEmbedded finds event types that a field of another message has made a part. By the rule they would travel no more,
// and nothing would be asked of their events, which are in the log all the same.
func (g Gate) checkEmbedded(now *schema, versions []version) (faults []Fault, err error) {
	_, parts := now.eventMessages()
	for _, v := range versions {
		then, err := g.released(v)
		if err != nil {
			return nil, err
		}
		for _, m := range then.eventTypes() {
			if at := parts[m.FullName()]; at != nil {
				faults = append(faults, embeddedFault(m.FullName(), at, v.String()))
			}
		}
	}
	recorded, err := folders(filepath.Join(g.Dir, protoDir, corpusDir))
	if err != nil {
		return nil, err
	}
	for _, name := range recorded {
		if at := parts[protoreflect.FullName(name)]; at != nil {
			faults = append(faults, embeddedFault(protoreflect.FullName(name), at, ""))
		}
	}
	return faults, nil
}

// embeddedFault tells where an event type is held. Since is the release that has it as one, "" for none.
func embeddedFault(name protoreflect.FullName, at protoreflect.FieldDescriptor, since string) Fault {
	return Fault{
		File: fileOf(at), Line: lineOf(at), Rule: "EVENT_EMBEDDED", Since: since,
		What: fmt.Sprintf("%s is an event type, and the field %s makes it a part of another event", name, at.FullName()),
		Instead: "give the field a message of its own, with what it needs of " + string(name.Name()) + ": what travels by itself is no " +
			"part of anything, and its events are read for ever",
	}
}
