package schemadoc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tidings-dev/tidings/bus/announce"
)

func document(t *testing.T) (Document, map[string]any) {
	t.Helper()
	d := contracts(t, nil).AsyncAPI([]Declared{
		{Role: announce.Publishes, Service: "users", Types: []string{created}},
		{Role: announce.Reads, Service: "directory", Types: []string{created, createdV2}},
		{Role: announce.Reads, Service: "audit", Types: []string{announce.AnyType}},
	}, Place{Topic: "user_activity", Kafka: "k:1", Redis: "r:2"})
	text, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return d, tree
}

// at follows a path into a document; nil where it leads nowhere.
func at(tree any, path ...string) any {
	for _, key := range path {
		m, ok := tree.(map[string]any)
		if !ok {
			return nil
		}
		tree = m[key]
	}
	return tree
}

// A tool for AsyncAPI was asked by hand whether the document is valid; this holds what a change here could break.
func TestEveryReferenceOfTheDocumentLeadsSomewhere(t *testing.T) {
	_, tree := document(t)
	refs := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				refs++
				if path, local := strings.CutPrefix(ref, "#/"); !local || at(tree, strings.Split(path, "/")...) == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, value := range v {
				walk(value)
			}
		case []any:
			for _, value := range v {
				walk(value)
			}
		}
	}
	walk(tree)
	if refs < 20 {
		t.Errorf("there are %d references", refs)
	}
}

func TestTheDocumentHasEveryTypeAndWhoSendsAndReceivesIt(t *testing.T) {
	_, tree := document(t)
	for path, want := range map[string]any{
		"asyncapi": "3.0.0", "info/version": "0.1.0", "defaultContentType": "application/protobuf",
		"servers/kafka/protocol": "kafka", "servers/kafka/host": "k:1", "servers/redis/protocol": "redis", "servers/redis/host": "r:2",
		"channels/user_activity/address": "user_activity", "operations/users.send/action": "send", "operations/audit.receive/action": "receive",
	} {
		if got := at(tree, strings.Split(path, "/")...); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	types := contracts(t, nil).Today.EventTypes()
	for _, m := range types {
		name := string(m.FullName())
		message := at(tree, "components", "messages", name)
		if at(message, "name") != name || at(message, "contentType") != "application/protobuf" || at(message, "payload", "schemaFormat") != schemaFormat ||
			at(message, "payload", "schema", "$ref") != "#/components/schemas/"+name || at(tree, "channels", "user_activity", "messages", name) == nil {
			t.Errorf("%s is %v", name, message)
		}
	}
	for service, want := range map[string]int{"users.send": 1, "directory.receive": 2, "audit.receive": len(types)} {
		if got, _ := at(tree, "operations", service, "messages").([]any); len(got) != want {
			t.Errorf("%s has %d messages, want %d", service, len(got), want)
		}
	}
}

// The JSON form of an event in which everything is said fits the schema, and the schema names everything in it.
func TestSchemasAreThoseOfTheJSONForm(t *testing.T) {
	_, tree := document(t)
	for _, d := range contracts(t, nil).Today.EventTypes() {
		typ, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			t.Fatal(err)
		}
		m := typ.New()
		fill(m)
		text, err := protojson.Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		for _, fault := range misfits(tree, at(tree, "components", "schemas", string(d.FullName())), value, string(d.Name())) {
			t.Errorf("%s: %s\n%s", d.FullName(), fault, text)
		}
		spoilt := bytes.ReplaceAll(text, []byte(`"version":"7"`), []byte(`"version":7`))
		if err := json.Unmarshal(spoilt, &value); err != nil || bytes.Equal(spoilt, text) {
			t.Fatalf("%v, %s", err, text)
		}
		if len(misfits(tree, at(tree, "components", "schemas", string(d.FullName())), value, "")) == 0 {
			t.Errorf("%s: 64 bits may be a number: %s", d.FullName(), spoilt)
		}
	}
}

// fill says something in every field.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); {
		case f.Message() != nil && f.Message().FullName() == "google.protobuf.FieldMask":
			paths := m.Mutable(f).Message()
			paths.Mutable(paths.Descriptor().Fields().ByName("paths")).List().Append(protoreflect.ValueOfString("email"))
		case f.Message() != nil && !f.IsList() && !f.IsMap():
			fill(m.Mutable(f).Message())
		case f.Kind() == protoreflect.StringKind && !f.IsList() && !f.IsMap():
			m.Set(f, protoreflect.ValueOfString("text"))
		case f.Kind() == protoreflect.Uint64Kind && !f.IsList():
			m.Set(f, protoreflect.ValueOfUint64(7))
		case f.Kind() == protoreflect.Int64Kind && !f.IsList():
			m.Set(f, protoreflect.ValueOfInt64(7))
		case f.Enum() != nil && !f.IsList() && !f.IsMap():
			m.Set(f, protoreflect.ValueOfEnum(1))
		}
	}
}

// misfits says where a value doesn't fit a schema: as much of JSON Schema as the document uses.
func misfits(tree map[string]any, schema, value any, where string) (faults []string) {
	fault := func(is bool, format string, args ...any) {
		if is {
			faults = append(faults, where+" "+fmt.Sprintf(format, args...))
		}
	}
	if ref, ok := at(schema, "$ref").(string); ok {
		return misfits(tree, at(tree, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), value, where)
	}
	all, _ := at(schema, "allOf").([]any)
	for _, one := range all {
		faults = append(faults, misfits(tree, one, value, where)...)
	}
	if some, ok := at(schema, "anyOf").([]any); ok {
		fault(!slices.ContainsFunc(some, func(one any) bool { return len(misfits(tree, one, value, where)) == 0 }), "fits none: %v", value)
	}
	switch typ := at(schema, "type"); typ {
	case nil:
	case "object":
		members, ok := value.(map[string]any)
		fault(!ok, "is no object")
		for name, member := range members {
			of := at(schema, "properties", name)
			fault(of == nil, "has a member %s that the schema doesn't name", name)
			faults = append(faults, misfits(tree, of, member, where+"."+name)...)
		}
	case "string":
		text, ok := value.(string)
		fault(!ok, "is no string: %v", value)
		pattern, _ := at(schema, "pattern").(string)
		fault(!regexp.MustCompile(pattern).MatchString(text), "%q doesn't match %s", text, pattern)
		if names, ok := at(schema, "enum").([]any); ok {
			fault(!slices.Contains(names, value), "%q is none of %v", text, names)
		}
	case "integer":
		_, ok := value.(float64)
		fault(!ok, "is no number")
	default:
		fault(true, "has the type %v, which this test doesn't know", typ)
	}
	return faults
}

func TestTheDocumentIsTheSameEachTime(t *testing.T) {
	first, _ := document(t)
	for range 20 {
		if again, _ := document(t); !bytes.Equal(again.YAML(), first.YAML()) {
			t.Fatal("it differs")
		}
	}
}
