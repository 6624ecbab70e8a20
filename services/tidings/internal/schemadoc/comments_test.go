package schemadoc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestCommentsStandBeforeWhatTheyAreOf(t *testing.T) {
	got := map[protoreflect.FullName]string{}
	readComments(got, "p.v1", `syntax = "proto3";

// Not of anything: a blank line follows.

// Of the package.
package p.v1;

// A is
//   indented, and
//
// goes on.
message A {
  // The id.
  string id = 1; // behind, and not read
  // One of two.
  oneof which {
    // First.
    string one = 2;
  }
  // A map.
  map<string, p.v1.B> all = 3;
  optional int32 bare = 4 [deprecated = true];
  // Within.
  message B {
    // Many.
    repeated string names = 1;
  }
  // After it.
  B b = 5;
}

// Nothing.
message Empty {}

// E.
enum E {
  // Zero.
  E_UNSPECIFIED = 0;
  // Below.
  E_BELOW = -1;
}

// S.
service S {
  // Get.
  rpc Get(A) returns (A);
  // Put.
  rpc Put(A) returns (A) {
    // Not of S.
    option deprecated = true;
  }
  // Last.
  rpc Last(stream A) returns (A);
}
`)
	want := map[protoreflect.FullName]string{
		"p.v1.A": "A is\n  indented, and\n\ngoes on.", "p.v1.A.id": "The id.", "p.v1.A.which": "One of two.", "p.v1.A.one": "First.",
		"p.v1.A.all": "A map.", "p.v1.A.bare": "", "p.v1.A.B": "Within.", "p.v1.A.B.names": "Many.", "p.v1.A.b": "After it.",
		"p.v1.Empty": "Nothing.", "p.v1.E": "E.", "p.v1.E_UNSPECIFIED": "Zero.", "p.v1.E_BELOW": "Below.",
		"p.v1.S": "S.", "p.v1.S.Get": "Get.", "p.v1.S.Put": "Put.", "p.v1.S.Last": "Last.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
