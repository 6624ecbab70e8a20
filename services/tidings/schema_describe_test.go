package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/announce"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemadoc"
)

func TestTheAsyncAPIDocumentInTheRepositoryIsOfTheseContracts(t *testing.T) {
	file := filepath.Join("..", "..", "proto", "asyncapi.yaml")
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if code, out, faults := ran("schema", "asyncapi"); code != 0 || out != string(kept) {
		t.Errorf("%s is not what `tidings schema asyncapi` prints: run .ci/generate and commit what it writes (exit %d, %s)", file, code, faults)
	}
	to := filepath.Join(t.TempDir(), "asyncapi.json")
	if code, out, faults := ran("schema", "asyncapi", "--json", "-o", to); code != 0 || out != "" {
		t.Errorf("exit %d, %q, %s", code, out, faults)
	}
	written, err := os.ReadFile(to)
	if err != nil || !json.Valid(written) || !bytes.Contains(written, []byte(`"asyncapi": "3.0.0"`)) {
		t.Errorf("%v: %.200s", err, written)
	}
}

func TestSchemaShowTellsWhatAMessageHoldsAndSinceWhen(t *testing.T) {
	_, out, _ := ran("schema", "show", "users.events.v1.User", "--release=0.1.0")
	for _, want := range []string{
		"message users.events.v1.User, since 0.1.0, as it was in 0.1.0\nUser is somebody",
		"\n3  name  string  absent is zero  since 0.1.0\n    What the user is called, in full",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it says\n%s\nwhich lacks %q", out, want)
		}
	}
	if strings.Contains(out, "phone") {
		t.Errorf("0.1.0 had no phone:\n%s", out)
	}
	var shown schemadoc.Shown
	_, out, _ = ran("schema", "show", "users.events.v2.NameOrder", "--json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Kind != "enum" || len(shown.Members) < 3 || shown.Members[2].Number != 2 {
		t.Errorf("%v: %s", err, out)
	}
	for want, args := range map[string][]string{
		`did you mean users.events.v1.UserDeleted`: {"schema", "show", "users.events.v1.UserDeletd"},
		`did you mean 0.1.0`:                       {"schema", "show", "users.events.v1.User", "--release=0.1"},
		`there is no release "0.l.0"`:              {"schema", "diff", "0.l.0"},
		`--for 0s: pass a time above the 2s`:       {"schema", "ls", "--for=0s"},
		`no backend for scheme "rabbit"`:           {"schema", "ls", "--bus=rabbit://h"},
	} {
		if code, out, faults := ran(args...); code != 2 || out != "" || !strings.Contains(faults, want) {
			t.Errorf("tidings %v: exit %d, %q, %q; want 2 and %q", args, code, out, faults, want)
		}
	}
}

func TestSchemaDiffTellsWhatWasAdded(t *testing.T) {
	code, out, _ := ran("schema", "diff", "0.1.0")
	for _, want := range []string{
		"from 0.1.0 to today\n", "\n+ field    users.events.v1.User.phone  ", "\n+ message  users.events.v2.PersonName\n",
		"\n  + value  users.events.v2.NameOrder.NAME_ORDER_FAMILY_FIRST  ",
	} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d,\n%s\nwhich lacks %q", code, out, want)
		}
	}
	if strings.Contains(out, " \n") {
		t.Error("lines end with spaces")
	}
	if _, out, _ := ran("schema", "diff", "today", "today"); out != "nothing differs between today and today\n" {
		t.Errorf("it says %q", out)
	}
	var d difference
	_, out, _ = ran("schema", "diff", "--json", "today", "0.1.0")
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.From != "today" || d.To != "0.1.0" || len(d.Changes) == 0 || d.Changes[0].Change != "removed" {
		t.Errorf("%v: %s", err, out)
	}
}

// announced publishes an announcement as of a time, as an older one on the topic is.
func announced(t *testing.T, b bus.Bus, topic string, at time.Time, a announce.Announcement) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan struct{})
	hears := hearing{b, func() { close(heard) }}
	ended := make(chan error, 1)
	go func() {
		ended <- announce.Run(ctx, hears, topic, []announce.Announcement{a}, announce.Config{Now: func() time.Time { return at }})
	}()
	select {
	case <-heard:
	case <-time.After(servicetest.Soon):
		t.Fatal("nothing is announced")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// hearing tells of a publishing that went well.
type hearing struct {
	bus.Bus
	told func()
}

func (h hearing) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	err := h.Bus.Publish(ctx, topic, events...)
	if err == nil {
		h.told()
	}
	return err
}

func (h hearing) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	return h.Bus.(bus.Inspector).Partitions(ctx, topics...)
}

// The answer for who wants to stop v1, as the readers move to v2.
func TestSchemaLsTellsWhoStillReadsAVersion(t *testing.T) {
	if code, out, _ := ran("schema", "ls", "--control=127.0.0.1:1"); code != 0 || !strings.Contains(out, "users.events.v1.UserCreated") ||
		!strings.Contains(out, "none answers at 127.0.0.1:1") {
		t.Errorf("without a bus: exit %d, %s", code, out)
	}
	cfg := servicetest.Common(t, "schema")
	b := servicetest.OnKafka(t, &cfg)
	const v1, v2 = "users.events.v1.UserCreated", "users.events.v2.UserCreated"
	ls := func(want ...string) string {
		t.Helper()
		code, out, faults := ran("schema", "ls", "--bus="+cfg.Bus, "--topic="+cfg.Topic)
		for _, w := range want {
			if code != 0 || !strings.Contains(out, w) {
				t.Errorf("exit %d, %s\n%s\nwhich lacks %q", code, faults, out, w)
			}
		}
		return out
	}
	ls("  nothing\n", "users.events.v1: nobody has ever said that it reads it")
	now := time.Now().UTC()
	yesterday := now.Add(-24 * time.Hour)
	directory := announce.Announcement{Role: announce.Reads, Name: "directory", Group: "directory.1", Types: []string{v1}}
	announced(t, b, cfg.Topic, yesterday, directory)
	announced(t, b, cfg.Topic, now, announce.Announcement{Role: announce.Publishes, Name: "users", Group: "users", Types: []string{v1, v2}})
	announced(t, b, cfg.Topic, now, announce.Announcement{Role: announce.Reads, Name: "audit", Group: "audit.2", Types: []string{announce.AnyType}})
	ls("silent since "+yesterday.Format(time.RFC3339), "users.events.v1: nobody has said of late that it reads it; directory.1 said so and is silent now",
		"audit.2 takes whatever comes\n", "  users        publishes  users.events.v1, users.events.v2  ")
	announced(t, b, cfg.Topic, now, directory)
	ls("users.events.v1: read by directory.1; directory.1 can do with no other version; audit.2 takes whatever comes\n")
	directory.Types = []string{v1, v2} // it has an upcaster, for the log's sake
	announced(t, b, cfg.Topic, now, directory)
	ls("users.events.v1: read by directory.1; all can do with another version; audit.2 takes whatever comes\n")
	directory.Types = []string{v2}
	announced(t, b, cfg.Topic, now, directory)
	ls("users.events.v1: nobody has said that it reads it since "+now.Format(time.RFC3339)+";", "users.events.v2: read by directory.1;")
	var l schemadoc.Listing
	_, out, _ := ran("schema", "ls", "--bus="+cfg.Bus, "--topic="+cfg.Topic, "--json")
	if err := json.Unmarshal([]byte(out), &l); err != nil || len(l.Bus.Spoken) != 3 || !l.Bus.KeepsLog || !slices.ContainsFunc(l.Packages, func(p schemadoc.Package) bool {
		return p.Package == "users.events.v1" && p.LastRead != nil
	}) {
		t.Errorf("%v: %s", err, out)
	}
}
