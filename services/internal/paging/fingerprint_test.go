package paging

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Filters may be lists, messages and maps one day; what differs in any of them is another request.
func TestFingerprintsDifferWhereRequestsDo(t *testing.T) {
	value := func(m map[string]any) proto.Message {
		s, err := structpb.NewStruct(m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	requests := []proto.Message{
		&wrapperspb.StringValue{}, &wrapperspb.StringValue{Value: "a"}, &wrapperspb.StringValue{Value: " a"},
		&wrapperspb.BytesValue{Value: []byte("a")},
		&fieldmaskpb.FieldMask{Paths: []string{"a", "b"}}, &fieldmaskpb.FieldMask{Paths: []string{"b", "a"}},
		&fieldmaskpb.FieldMask{Paths: []string{`a" "b`}}, &fieldmaskpb.FieldMask{Paths: []string{"a", "b", ""}},
		&timestamppb.Timestamp{Seconds: 1}, &timestamppb.Timestamp{Nanos: 1}, &timestamppb.Timestamp{Seconds: 1, Nanos: 1},
		value(map[string]any{"a": 1, "b": 2}), value(map[string]any{"a": 2, "b": 1}), value(map[string]any{"a": "1", "b": 2}),
		value(map[string]any{"a": map[string]any{"b": 1}}), value(map[string]any{"a": []any{1, 2}}), value(map[string]any{"a": []any{2, 1}}),
	}
	seen := make(map[string]int)
	for i, req := range requests {
		mark := fingerprint(req)
		if j, ok := seen[mark]; ok {
			t.Errorf("%v and %v have the fingerprint %s", requests[j], req, mark)
		}
		seen[mark] = i
		for range 20 { // maps have no order
			if again := fingerprint(proto.Clone(req)); again != mark {
				t.Fatalf("%v has the fingerprints %s and %s", req, mark, again)
			}
		}
	}
}
