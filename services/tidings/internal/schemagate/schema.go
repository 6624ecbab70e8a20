package schemagate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// schema is what an image describes.
type schema struct {
	files *protoregistry.Files
	types *dynamicpb.Types
}

// parseSchema reads a google.protobuf.FileDescriptorSet that holds its imports.
func parseSchema(image []byte) (*schema, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(image, &set); err != nil {
		return nil, fmt.Errorf("schemagate: a descriptor image can't be read: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("schemagate: a descriptor image can't be read: %w", err)
	}
	return &schema{files: files, types: dynamicpb.NewTypes(files)}, nil
}

// message finds a message by its full name; nil where there is none.
func (s *schema) message(name string) protoreflect.MessageDescriptor {
	d, err := s.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	m, _ := d.(protoreflect.MessageDescriptor)
	return m
}

// eventPackage is what the package of events is called: users.events.v1.
var eventPackage = regexp.MustCompile(`(^|\.)events\.v[0-9]+([a-z]+[0-9]+)?$`)

// eventTypes are the messages that travel as events, by name: those at the top of a package …events.vN that no other
// message of the package has a field of. The rule stands in proto/README.md.
func (s *schema) eventTypes() []protoreflect.MessageDescriptor {
	all, parts := s.eventMessages()
	all = slices.DeleteFunc(all, func(m protoreflect.MessageDescriptor) bool { return parts[m.FullName()] != nil })
	slices.SortFunc(all, func(a, b protoreflect.MessageDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
	return all
}

// eventMessages are the messages at the top of packages of events, and by the names of those that are parts of others, a
// field that holds them: of several the first by name.
func (s *schema) eventMessages() (all []protoreflect.MessageDescriptor, parts map[protoreflect.FullName]protoreflect.FieldDescriptor) {
	parts = map[protoreflect.FullName]protoreflect.FieldDescriptor{}
	s.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if eventPackage.MatchString(string(f.Package())) {
			for m := range messagesOf(f) {
				all = append(all, m)
				markParts(m, m.FullName(), parts)
			}
		}
		return true
	})
	return all, parts
}

// messagesOf yields the messages at the top of a file.
func messagesOf(f protoreflect.FileDescriptor) func(yield func(protoreflect.MessageDescriptor) bool) {
	return func(yield func(protoreflect.MessageDescriptor) bool) {
		for i := range f.Messages().Len() {
			if !yield(f.Messages().Get(i)) {
				return
			}
		}
	}
}

// markParts marks the types of m's fields, and of those of the messages within it, but the one at the top itself.
func markParts(m protoreflect.MessageDescriptor, top protoreflect.FullName, parts map[protoreflect.FullName]protoreflect.FieldDescriptor) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		of := f.Message()
		if f.IsMap() { // whose entry is a message that stands in no file
			of = f.MapValue().Message()
		}
		if of == nil || of.FullName() == top {
			continue
		}
		if before := parts[of.FullName()]; before == nil || f.FullName() < before.FullName() {
			parts[of.FullName()] = f
		}
	}
	for i := range m.Messages().Len() {
		if within := m.Messages().Get(i); !within.IsMapEntry() {
			markParts(within, top, parts)
		}
	}
}

// lineOf is where d stands in its file, from 1.
func lineOf(d protoreflect.Descriptor) int {
	return d.ParentFile().SourceLocations().ByDescriptor(d).StartLine + 1
}

// fileOf is the file of d, from the top of the checkout.
func fileOf(d protoreflect.Descriptor) string { return protoDir + "/" + d.ParentFile().Path() }

// well reports whether m is one of protobuf's own messages, which have no parts of ours.
func well(m protoreflect.MessageDescriptor) bool {
	return m.ParentFile().Package() == "google.protobuf"
}
