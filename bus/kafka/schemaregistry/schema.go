package schemaregistry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	sr "github.com/confluentinc/confluent-kafka-go/v2/schemaregistry"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/rest"
	"github.com/jhump/protoreflect/desc"
	"github.com/jhump/protoreflect/desc/protoprint"
	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schemaType is what registries call schemas in Protobuf.
const schemaType = "PROTOBUF"

// normalize has the registry take two texts for one schema where they differ in order or spelling only: others may have
// registered the file as it was written.
const normalize = true

// message finds the type of an event.
func (r *registry) message(typ string) (protoreflect.MessageDescriptor, error) {
	d, err := r.files.FindDescriptorByName(protoreflect.FullName(typ))
	m, ok := d.(protoreflect.MessageDescriptor)
	if err != nil || !ok {
		return nil, bus.Permanent(errors.New("this program doesn't link its generated code, so its schema isn't known: import that package"))
	}
	return m, nil
}

// indexes is the way from m's file to m: the place of its outermost message, and then of each one within it.
func indexes(m protoreflect.MessageDescriptor) []int {
	var way []int
	for d := protoreflect.Descriptor(m); d.Parent() != nil; d = d.Parent() {
		way = append(way, d.Index())
	}
	slices.Reverse(way)
	return way
}

// file registers a file under a subject, its imports before it; or looks them up.
func (r *registry) file(subject string, f protoreflect.FileDescriptor) (sr.SchemaMetadata, error) {
	refs, err := r.references(f)
	if err != nil {
		return sr.SchemaMetadata{}, err
	}
	text, err := source(f)
	if err != nil {
		return sr.SchemaMetadata{}, bus.Permanent(fmt.Errorf("%s: %w", f.Path(), err))
	}
	info := sr.SchemaInfo{Schema: text, SchemaType: schemaType, References: refs}
	known, err := r.schema(subject, info)
	if err != nil {
		return sr.SchemaMetadata{}, r.verdict(subject, f.Path(), err)
	}
	known.SchemaInfo = info // most registries answer with the id alone
	return known, nil
}

// schema registers a schema, or looks it up.
func (r *registry) schema(subject string, info sr.SchemaInfo) (sr.SchemaMetadata, error) {
	if r.register {
		return r.client.RegisterFullResponse(subject, info, normalize)
	}
	return r.client.GetIDFullResponse(subject, info, normalize)
}

// references registers the imports of a file, each under its path, as Confluent's serializers do.
func (r *registry) references(f protoreflect.FileDescriptor) ([]sr.Reference, error) {
	refs := []sr.Reference{}
	for i := range f.Imports().Len() {
		file := f.Imports().Get(i).FileDescriptor
		if everywhere(file.Path()) {
			continue
		}
		known, err := r.file(file.Path(), file)
		if err == nil && known.Version == 0 {
			known.Version, err = r.version(file.Path(), known.SchemaInfo)
		}
		if err != nil {
			return nil, err
		}
		refs = append(refs, sr.Reference{Name: file.Path(), Subject: file.Path(), Version: known.Version})
	}
	return refs, nil
}

// version asks for what only newer registries tell unasked.
func (r *registry) version(subject string, info sr.SchemaInfo) (int, error) {
	v, err := r.client.GetVersion(subject, info, normalize)
	if err != nil {
		return 0, r.verdict(subject, subject, err)
	}
	return v, nil
}

// everywhere reports whether registries and deserializers bring a file along.
func everywhere(path string) bool {
	return slices.ContainsFunc([]string{"google/protobuf/", "google/type/", "confluent/"}, func(dir string) bool {
		return strings.HasPrefix(path, dir)
	})
}

// source is the text of a file, as Confluent's serializer for Go prints it.
func source(f protoreflect.FileDescriptor) (string, error) {
	d, err := desc.WrapFile(f)
	if err != nil {
		return "", err
	}
	printer := protoprint.Printer{OmitComments: protoprint.CommentsAll}
	return printer.PrintProtoToString(d)
}

// verdict tells what no waiting changes from a registry that is away, or is not itself. Codes are HTTP's, with two more
// digits where there is more to say.
func (r *registry) verdict(subject, path string, err error) error {
	var answer *rest.Error
	if !errors.As(err, &answer) {
		return err
	}
	status := answer.Code
	if status >= 1000 {
		status /= 100
	}
	switch {
	case status == 404 && !r.register:
		err = fmt.Errorf("subject %q lacks the schema of %s, and schema_registry.register=false: register it first, "+
			"or let this program do so (the registry says: %w)", subject, path, err)
	case status == 409:
		err = fmt.Errorf("the registry refuses the schema of %s, for it doesn't fit what subject %q has: make it compatible, "+
			"or a type of a new version (the registry says: %w)", path, subject, err)
	case status == 403:
		err = fmt.Errorf("the registry doesn't let this program at subject %q for the schema of %s (the registry says: %w)", subject, path, err)
	case status == 404, status == 422:
		err = fmt.Errorf("the registry doesn't take the schema of %s under subject %q: %w", path, subject, err)
	default:
		return fmt.Errorf("subject %q: %w", subject, err)
	}
	return bus.Permanent(err)
}
