package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/program"
)

type parkedShow struct {
	ID string `arg:"" help:"As parked ls prints it: directory/12."`
	databaseFlags
	JSON bool `name:"json" help:"Print one JSON object instead, with all bytes." env:"-"`
}

// shown is a parked event with all that is known of it.
type shown struct {
	listed
	Attributes map[string]string `json:"attributes,omitempty"` // of the CloudEvent, as far as it is one
	Payload    json.RawMessage   `json:"payload,omitempty"`    // where its type is known, and its bytes are of that type
	Undecoded  string            `json:"undecoded,omitempty"`  // why there is no payload
	Raw        string            `json:"raw_hex"`              // the envelope, or what came instead of one
	Behind     []listed          `json:"behind,omitempty"`     // what waits for it

	data []byte // what stands in the envelope; all of it where it is none
}

func (c *parkedShow) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	r, err := c.row(ctx, c.ID)
	if err != nil {
		return err
	}
	defer r.close()
	s := decode(r.ParkedEvent)
	if s.Behind, err = behind(ctx, r.Parking, r.ParkedEvent); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(in.Stdout).Encode(s)
	}
	return s.write(in.Stdout, time.Now())
}

// behind lists what waits for an event. Only one that has no other before it has any.
func behind(ctx context.Context, p *inbox.Parking, e inbox.ParkedEvent) (all []listed, err error) {
	if e.State == "behind" || e.Key == "" {
		return nil, nil
	}
	f := inbox.Filter{Group: e.Group, Source: e.Source, Key: e.Key, State: "behind"}
	err = list(ctx, p, f, func(b inbox.ParkedEvent) error {
		if (b.Version == 0) == (e.Version == 0) { // those without a version wait for their like
			all = append(all, listedOf(b))
		}
		return nil
	})
	return all, err
}

// decode reads what was parked, as far as it can be read.
func decode(e inbox.ParkedEvent) shown {
	s := shown{listed: listedOf(e), Raw: hex.EncodeToString(e.Raw), data: e.Raw}
	ev, err := bus.ParseEnvelope(e.Raw)
	if err != nil {
		s.Undecoded = "this is no event: " + err.Error()
		return s
	}
	s.data, s.Attributes = ev.Data, attributes(ev)
	if s.Payload, err = payload(ev); err != nil {
		s.Undecoded = err.Error()
	}
	return s
}

// attributes are those of the envelope, by the names that CloudEvents gives them.
func attributes(e bus.Event) map[string]string {
	all := maps.Clone(e.Ext)
	if all == nil {
		all = map[string]string{}
	}
	for name, value := range map[string]string{
		"id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Key, "datacontenttype": e.DataType,
		"version": version(e.Version), "sequence": version(e.Seq), "time": e.Time.UTC().Format(time.RFC3339Nano),
	} {
		if value != "" && value != "-" && (name != "time" || !e.Time.IsZero()) {
			all[name] = value
		}
	}
	return all
}

// payload makes JSON of an event's data, where this program knows its type.
func payload(e bus.Event) (json.RawMessage, error) {
	known, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(e.Type))
	if err != nil {
		return nil, fmt.Errorf("this program knows no type %q", e.Type)
	}
	m := known.New().Interface()
	if err := proto.Unmarshal(e.Data, m); err != nil {
		return nil, fmt.Errorf("its bytes are no %s: %w", e.Type, err)
	}
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
}

// write prints s for people.
func (s shown) write(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(t, "%s\t%s\n", name, value) }
	line("id", s.ID)
	line("state", s.state(now))
	line("error", orDash(clean(s.Error)))
	line("parked", s.Parked.Format(time.RFC3339))
	line("read at", s.readAt())
	line("applied before", s.applied())
	line("behind it", s.waiting())
	for _, name := range slices.Sorted(maps.Keys(s.Attributes)) {
		line("  "+name, clean(s.Attributes[name]))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if s.Undecoded == "" {
		_, err := fmt.Fprintf(w, "payload\n%s\n", indented(s.Payload))
		return err
	}
	_, err := fmt.Fprintf(w, "payload: %s\n%s", clean(s.Undecoded), dump(s.data))
	return err
}

// state says in words what becomes of the event.
func (s shown) state(now time.Time) string {
	tries := "tried " + plural(s.Tries, "time", "times")
	if s.Reaction {
		tries = "a reaction, " + tries
	}
	switch s.State {
	case "parked":
		return fmt.Sprintf("parked: %s; again %s", tries, (&table{now: now}).next(s.listed))
	case "behind":
		return "behind: it waits for an earlier one of its key, and follows it"
	case "dead":
		return "dead: " + tries + ", and no more until somebody says so"
	case "unknown":
		return "unknown: nothing in this service takes events of its type"
	}
	return s.State
}

func (s shown) readAt() string {
	if s.Offset < 0 {
		return s.Topic + ", on a bus that keeps no log"
	}
	return fmt.Sprintf("%s/%d:%d", s.Topic, s.Partition, s.Offset)
}

// applied says what the service has done of the key before.
func (s shown) applied() string {
	if s.Have == 0 {
		return "nothing of this key"
	}
	return fmt.Sprintf("this key up to version %d", s.Have)
}

// waiting says what waits behind it.
func (s shown) waiting() string {
	if len(s.Behind) == 0 {
		return "nothing"
	}
	text := plural(len(s.Behind), "event", "events")
	if first, last := s.Behind[0].Version, s.Behind[len(s.Behind)-1].Version; first == last && first > 0 {
		text += fmt.Sprint(", of version ", first)
	} else if first > 0 {
		text += fmt.Sprintf(", of versions %d to %d", first, last)
	}
	return text
}

// clean is cut without an end: all of a text, in one line, for a terminal.
func clean(s string) string {
	var all strings.Builder
	for chunk := range slices.Chunk([]rune(s), cutText) {
		all.WriteString(cut(string(chunk)))
	}
	return all.String()
}

// indented makes JSON that people read. What protojson writes changes its spaces from build to build.
func indented(raw json.RawMessage) string {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return string(raw)
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return string(raw)
	}
	return string(text)
}

// maxDump is how many bytes are shown.
const maxDump = 512

// dump shows bytes as hex, and what can be read in them.
func dump(data []byte) string {
	more := len(data) - maxDump
	if more <= 0 {
		return hex.Dump(data)
	}
	return hex.Dump(data[:maxDump]) + fmt.Sprintf("… and %d bytes more: --json has them all\n", more)
}
