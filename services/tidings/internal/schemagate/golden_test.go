package schemagate_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// Every package of events is linked, so that its messages are found by the types of golden events.
	_ "github.com/tidings-dev/tidings/gen/users/events/v1"
	_ "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemagate"
)

// corpus is every golden event.
func corpus(t *testing.T) []schemagate.Golden {
	t.Helper()
	all, err := schemagate.ReadCorpus("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the corpus is empty")
	}
	return all
}

// Whatever was ever published is read by the code of today: its envelope in either mode, and its payload into the
// generated type. Nothing is encoded again on the way.
func TestEveryGoldenEventIsReadByTheCodeOfToday(t *testing.T) {
	for _, g := range corpus(t) {
		t.Run(g.Type+"/"+g.Case, func(t *testing.T) {
			m, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(g.Type))
			if err != nil {
				t.Fatalf("no %s is linked (%v): run .ci/generate, and import its package in this file", g.Type, err)
			}
			if _, err := g.Verify(m, protoregistry.GlobalTypes); err != nil {
				t.Errorf("%v\nGenerated code that is older than proto/ does this: run .ci/generate", err)
			}
		})
	}
}

// The other way round: what a golden event says that its reader does not know stays in it byte for byte.
func TestAGoldenEventIsForwardedAsItCame(t *testing.T) {
	for _, g := range corpus(t) {
		structured, binary, err := g.Events()
		if err != nil {
			t.Fatal(err)
		}
		if got := structured.AppendEnvelope(nil); !bytes.Equal(got, g.Structured) {
			t.Errorf("%s/%s: forwarded as\n%x, and it came as\n%x", g.Type, g.Case, got, g.Structured)
		}
		if !bytes.Equal(binary.Data, g.Payload) {
			t.Errorf("%s/%s: binary mode lost bytes", g.Type, g.Case)
		}
	}
}

// A golden event that says something else than its event.json is found, whichever of its files it is in.
func TestAGoldenEventThatSaysSomethingElseIsFound(t *testing.T) {
	for name, change := range map[string]func(g *schemagate.Golden){
		"attribute":       func(g *schemagate.Golden) { g.Attributes["version"] = "7" },
		"extra attribute": func(g *schemagate.Golden) { g.Attributes["traceparent"] = "x" },
		"data":            func(g *schemagate.Golden) { g.Data = bytes.Replace(g.Data, []byte("Ada"), []byte("Ida"), 1) },
		"data of another": func(g *schemagate.Golden) { g.Data = []byte(`{"id":"x"}`) },
		"payload":         func(g *schemagate.Golden) { g.Payload = g.Payload[:len(g.Payload)-1] },
		"unknown field":   func(g *schemagate.Golden) { g.Payload = append(g.Payload, 0xf8, 0x07, 1) },
		"structured":      func(g *schemagate.Golden) { g.Structured = g.Structured[:9] },
		"other envelope": func(g *schemagate.Golden) {
			g.Structured = bytes.Replace(g.Structured, []byte("/users"), []byte("/losers"[:6]), 1)
		},
		"header":            func(g *schemagate.Golden) { g.Headers[3].Value = []byte("users.events.v1.UserDeleted") },
		"no header":         func(g *schemagate.Golden) { g.Headers = nil },
		"in another folder": func(g *schemagate.Golden) { g.Type = "users.events.v2.UserCreated" },
	} {
		g := corpus(t)[0]
		m, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(g.Type))
		if err != nil {
			t.Fatal(err)
		}
		change(&g)
		if _, err := g.Verify(m, protoregistry.GlobalTypes); err == nil {
			t.Errorf("%s: nobody sees it", name)
		}
	}
}
