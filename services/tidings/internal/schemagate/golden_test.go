package schemagate_test

import (
	"bytes"
	"slices"
	"strings"
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

// one is a golden event that is there for ever, whatever else is recorded.
func one(t *testing.T) schemagate.Golden {
	t.Helper()
	all := corpus(t)
	i := slices.IndexFunc(all, func(g schemagate.Golden) bool { return g.Type == "users.events.v1.UserCreated" })
	if i < 0 {
		t.Fatal("no users.events.v1.UserCreated is recorded")
	}
	return all[i]
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

// A huge version would have tests publish all before it, for ever.
func TestAGoldenEventOfAHugeVersionIsFound(t *testing.T) {
	g := one(t)
	e, _, err := g.Events()
	if err != nil {
		t.Fatal(err)
	}
	e.Version = schemagate.MaxVersion + 1
	g.Structured = e.AppendEnvelope(nil)
	m, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(g.Type))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Verify(m, protoregistry.GlobalTypes); err == nil || !strings.Contains(err.Error(), "version 1001: a recorded event has one of 1 to 1000") {
		t.Errorf("error %v", err)
	}
}

// A golden event that says something else than its event.json is found, whichever of its files it is in.
func TestAGoldenEventThatSaysSomethingElseIsFound(t *testing.T) {
	type golden = schemagate.Golden
	for name, c := range map[string]struct {
		change func(g *golden)
		want   []string
	}{
		"attribute":         {func(g *golden) { g.Attributes["version"] = "7" }, []string{"structured.binpb is read as map", "binary.headers is read as map"}},
		"extra attribute":   {func(g *golden) { g.Attributes["traceparent"] = "x" }, []string{"event.json says map"}},
		"data":              {func(g *golden) { g.Data = bytes.Replace(g.Data, []byte("Ada"), []byte("Ida"), 1) }, []string{"payload.binpb is read as", "and event.json says"}},
		"data of another":   {func(g *golden) { g.Data = []byte(`{"id":"x"}`) }, []string{"event.json: data: "}},
		"cut payload":       {func(g *golden) { g.Payload = g.Payload[:len(g.Payload)-1] }, []string{"payload.binpb: ", "its data is not payload.binpb, byte for byte"}},
		"unknown field":     {func(g *golden) { g.Payload = append(g.Payload, 0xf8, 0x07, 1) }, []string{"it has fields that users.events.v1.UserCreated doesn't know"}},
		"structured":        {func(g *golden) { g.Structured = g.Structured[:9] }, []string{"structured.binpb: ", "not a CloudEvent"}},
		"other envelope":    {func(g *golden) { g.Structured = bytes.Replace(g.Structured, []byte("/users"), []byte("/loser"), 1) }, []string{"structured.binpb is read as map"}},
		"header":            {func(g *golden) { g.Headers[3].Value = []byte("users.events.v1.UserDeleted") }, []string{"it is a users.events.v1.UserDeleted, in the folder of"}},
		"no header":         {func(g *golden) { g.Headers = nil }, []string{"binary.headers: ", "not a CloudEvent"}},
		"in another folder": {func(g *golden) { g.Type = "users.events.v2.UserCreated" }, []string{"it is a users.events.v1.UserCreated, in the folder of users.events.v2.UserCreated"}},
	} {
		g := one(t)
		m, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(g.Type))
		if err != nil {
			t.Fatal(err)
		}
		c.change(&g)
		_, err = g.Verify(m, protoregistry.GlobalTypes)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v; want %q in it", name, err, want)
			}
		}
	}
}
