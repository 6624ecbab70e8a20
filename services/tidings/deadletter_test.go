package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	schemas "github.com/tidings-dev/tidings/proto"
	"github.com/tidings-dev/tidings/services/internal/database"
)

// deadIn makes the database of a consumer built from the schemas of 0.1.0, which takes none of the events.
func deadIn(t *testing.T, e bus.Event) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.db")
	db, err := database.Open(t.Context(), path, silent)
	if err != nil {
		t.Fatal(err)
	}
	in, err := inbox.New(inbox.Config{Group: "audit", Topics: []string{"topic"}, DB: db.DB, Gaps: inbox.Every, Logger: silent},
		inbox.Batch(func(context.Context, inbox.Tx, []bus.Event) error {
			return bus.Permanent(errors.New("this release can't take it"))
		}, dynamicpb.NewMessage(olderMessage(t, protoreflect.FullName(e.Type)))))
	if err != nil {
		t.Fatal(err)
	}
	rec := bustest.NewRecorder(bustest.WithLogger(silent))
	if err := rec.Publish(t.Context(), "topic", e); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, rec) }()
	for deadline := time.Now().Add(20 * time.Second); ; {
		s, err := in.Status(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("status %+v, %v", s, err)
		}
		if s.Dead == 1 {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	stop()
	if err := errors.Join(<-ended, rec.Close(context.Background()), db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// olderMessage describes a message as it was in 0.1.0.
func olderMessage(t *testing.T, name protoreflect.FullName) protoreflect.MessageDescriptor {
	t.Helper()
	raw, err := schemas.Released.ReadFile("released/v0.1.0.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return d.(protoreflect.MessageDescriptor)
}

// What an older consumer gave up has all that it never knew of: today's program shows it.
func TestADeadLetterOfAnOlderConsumerIsWhole(t *testing.T) {
	m := &eventsv1.UserUpdated{User: &eventsv1.User{Id: "k", Name: "Ada", DisplayName: proto.String("Countess")}}
	m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 4711, protowire.BytesType), "later"))
	e, err := bus.NewEvent("/users", "k", 1, m)
	if err != nil {
		t.Fatal(err)
	}
	e.Ext = map[string]string{"somebodys": "own"}
	db := "--db=" + deadIn(t, e)
	id := ""
	for _, l := range idsOf(t, "audit", db) {
		id = l.ID
	}
	if out := ranOK(t, "parked", "show", db, id); !strings.Contains(out, "dead: ") || !strings.Contains(out, `"display_name": "Countess"`) {
		t.Errorf("shown is\n%s", out)
	}
	var s struct {
		Raw string `json:"raw_hex"`
	}
	if err := json.Unmarshal([]byte(ranOK(t, "parked", "show", "--json", db, id)), &s); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(s.Raw)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := bus.ParseEnvelope(raw)
	if err != nil || !bytes.Equal(kept.Data, e.Data) || !bytes.Equal(raw, e.AppendEnvelope(nil)) {
		t.Errorf("the dead letter is %+v, %v; it was %+v", kept, err, e)
	}
}
