package bus

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
)

// TypeProtobuf is the media type of an event's data where Event.DataType is empty.
const TypeProtobuf = "application/protobuf"

// MaxEventBytes bounds an event as [Event.Size] counts it. A Kafka broker takes batches of 1,048,588 bytes by
// default (message.max.bytes); what is left covers the record's own header and framing.
const MaxEventBytes = 1_000_000

// Event is a fact about one key, in a CloudEvents 1.0 envelope. Source and Key name a history; Version is the
// place in it.
type Event struct {
	ID       string            // unique within Source; NewEvent derives it from Source, Type, Key and Version
	Source   string            // who numbers the versions: "/users". Two tables never share a source
	Type     string            // full name of the message in Data: "users.events.v1.UserCreated"
	Key      string            // CloudEvents subject; backends keep the order of one key
	Version  uint64            // 1, 2, 3 … within (Source, Key); 0 when its publisher numbers nothing
	Seq      uint64            // 1, 2, 3 … within Source and topic, set by the outbox's relay on a bus without a log; else 0
	SeqLog   string            // which numbering Seq is of: an id, new when Source begins at 1 again; "" without Seq
	Time     time.Time         // when it became true; zero when unknown
	DataType string            // media type of Data; "" is application/protobuf
	Data     []byte            // as it came, never re-encoded; shared, so do not write to it
	Ext      map[string]string // every other CloudEvents attribute, kept when forwarded; nil when none
	At       Position          // where it was read or stored; zero until then
	Heard    int               // how many subscribers Publish has reached, set by it on a backend without a log

	// Err says why a record of the topic could not be read as an event. Then only Key (the record's), Data (the
	// record's bytes as they came) and At are set. It is nil for every event that was published by Tidings.
	Err error
}

// idSpace is the namespace of derived ids: the UUIDv5 of this module's path in the URL namespace.
// It stands in ids that are kept for ever, so it never changes.
var idSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/tidings-dev/tidings"))

// NewEvent makes the event that says m of key: its Type is the full name of m, its Data m's bytes, its Time now.
//
// With a version its ID is a UUIDv5 of source, type, key and version, so that the same fact always has the same
// id, and a consumer that knows how far it has come with a key knows which ids it has done. Without one (v is 0)
// the ID is a random UUIDv7. It returns an error if m can't be encoded or [Event.Validate] refuses the event.
func NewEvent(source, key string, v uint64, m proto.Message) (Event, error) {
	data, err := proto.Marshal(m)
	if err != nil {
		return Event{}, fmt.Errorf("bus: new event of %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	e := Event{
		Source: source, Key: key, Version: v, Data: data,
		Type: string(m.ProtoReflect().Descriptor().FullName()),
		Time: time.Now().UTC(),
	}
	if e.ID, err = newID(e); err != nil {
		return Event{}, fmt.Errorf("bus: new event of %s: %w", e.Type, err)
	}
	if err := e.Validate(); err != nil {
		return Event{}, fmt.Errorf("bus: new event of %s: %w", e.Type, err)
	}
	return e, nil
}

func newID(e Event) (string, error) {
	if e.Version == 0 {
		id, err := uuid.NewV7()
		return id.String(), err
	}
	// NUL can't stand in an attribute, so the parts can't run into one another.
	name := make([]byte, 0, len(e.Source)+len(e.Type)+len(e.Key)+23)
	name = append(append(name, e.Source...), 0)
	name = append(append(name, e.Type...), 0)
	name = append(append(name, e.Key...), 0)
	name = strconv.AppendUint(name, e.Version, 10)
	return uuid.NewSHA1(idSpace, name).String(), nil
}

// Decode returns the message in e. Asked for another type than e's, or where the bytes are no such message, it
// returns a [Permanent] error that names both types.
func Decode[M proto.Message](e Event) (M, error) {
	var none M
	m := none.ProtoReflect().Type().New().Interface().(M)
	want := string(m.ProtoReflect().Descriptor().FullName())
	if e.Err != nil {
		return none, Permanent(fmt.Errorf("bus: decode %s: %w", want, e.Err))
	}
	if e.Type != want || e.DataType != "" && e.DataType != TypeProtobuf {
		return none, Permanent(fmt.Errorf("bus: event %s is a %s (%s), not a %s", e.ID, e.Type, e.dataType(), want))
	}
	if err := proto.Unmarshal(e.Data, m); err != nil {
		return none, Permanent(fmt.Errorf("bus: event %s: data of %s can't be read as %s: %w", e.ID, e.Type, want, err))
	}
	return m, nil
}

func (e *Event) dataType() string {
	if e.DataType == "" {
		return TypeProtobuf
	}
	return e.DataType
}

// Validate reports every reason why e can't be published: ID, Source, Type and Key must be set; they, DataType,
// SeqLog and Ext must be UTF-8 without control characters; names in Ext must be lower-case letters and digits, at most 64, and
// none that Event has a field for; Time must be in the years 1 to 9999; and [Event.Size] may be [MaxEventBytes] at most (an error that wraps [ErrTooLarge]).
func (e *Event) Validate() error {
	if e.Err != nil {
		return fmt.Errorf("it could not be read as an event: %w", e.Err)
	}
	var faults []error
	for _, f := range [...]struct{ name, value string }{
		{"ID", e.ID}, {"Source", e.Source}, {"Type", e.Type}, {"Key", e.Key},
	} {
		if f.value == "" {
			faults = append(faults, fmt.Errorf("%s is empty", f.name))
		} else if !validString(f.value) {
			faults = append(faults, fmt.Errorf("%s %.64q has bytes that are not UTF-8, or control characters", f.name, f.value))
		}
	}
	for _, f := range [...]struct{ name, value string }{{"DataType", e.DataType}, {"SeqLog", e.SeqLog}} {
		if !validString(f.value) {
			faults = append(faults, fmt.Errorf("%s %.64q has bytes that are not UTF-8, or control characters", f.name, f.value))
		}
	}
	if y := e.Time.UTC().Year(); y < 1 || y > 9999 {
		faults = append(faults, fmt.Errorf("Time is in the year %d, outside 1 to 9999", y))
	}
	if len(e.Ext) > 0 {
		faults = append(faults, e.validateExt())
	}
	if size := e.Size(); size > MaxEventBytes {
		faults = append(faults, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, size, MaxEventBytes))
	}
	return errors.Join(faults...)
}

func (e *Event) validateExt() error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(e.Ext)) {
		if !validName(name) {
			faults = append(faults, fmt.Errorf("Ext name %.64q must be 1 to 64 lower-case letters and digits, and not a name that Event has a field for", name))
		} else if !validString(e.Ext[name]) {
			faults = append(faults, fmt.Errorf("Ext %q has bytes that are not UTF-8, or control characters", name))
		}
	}
	return errors.Join(faults...)
}

// validString reports whether CloudEvents allows s as a string attribute: UTF-8, and none of the control
// characters U+0000 to U+001F and U+007F to U+009F (CloudEvents 1.0, "Type System").
func validString(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return c >= 0x80 && utf8.ValidString(s) && !strings.ContainsFunc(s, isControl)
		}
	}
	return true
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }

func validName(s string) bool {
	if s == "" || len(s) > 64 || reservedNames[s] {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// reservedNames are the attributes that have a field in Event, and "data", which CloudEvents forbids.
var reservedNames = map[string]bool{
	"id": true, "source": true, "specversion": true, "type": true, "subject": true, "time": true,
	"datacontenttype": true, attrVersion: true, attrSequence: true, attrSequenceLog: true, "data": true,
}
