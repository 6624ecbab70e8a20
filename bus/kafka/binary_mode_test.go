package kafka_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The bus keeps the same contract whichever mode is written. What happens while the broker is away has nothing to do
// with the mode, and is tested in bus/bustest. The suite looks for goroutines that are left behind, so it runs in
// another process than the tests beside it: the same test binary.
func TestBinaryModeKeepsTheContract(t *testing.T) {
	t.Parallel()
	if os.Getenv(apart) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), apart+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	url := brokerURL(t)
	bustest.Run(t, bustest.Harness{
		Open: func(t *testing.T, opts ...bus.Option) bus.Bus {
			b, err := bus.Open(t.Context(), url+"?mode=binary&drain=500ms", append(opts, kafka.Backend(), bus.WithLogger(logger(t)))...)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Guarantees: bus.All(),
		Log:        true,
		Put: func(t *testing.T, topic, key string, value []byte) {
			if err := client(t, url).ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		},
		Timeout: patience,
	})
}

// modes opens a bus for each mode, and a topic of one partition.
func modes(t *testing.T) (structured, binary bus.Bus, topic string) {
	t.Helper()
	url := brokerURL(t)
	return open(t, url, "partitions=1"), open(t, url, "partitions=1", "mode=binary"), unique(t, "topic")
}

// A publisher can be switched over while its readers run, and back again: one topic holds both modes, one reader takes
// both, and forwards what it has read in the other mode.
func TestAReaderCannotTellTheModes(t *testing.T) {
	t.Parallel()
	structured, binary, topic := modes(t)
	forwarded := unique(t, "forwarded")
	all := forSDK()
	for i, b := range []bus.Bus{structured, binary} {
		publish(t, b, topic, all...)
		s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
		s.waitFor((i + 1) * len(all))
		publish(t, map[bool]bus.Bus{true: binary, false: structured}[b == structured], forwarded, s.got()...)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
	// From the topic come the structured ones, then those and the binary ones.
	s := subscribe(t, structured, bus.Subscription{Group: unique(t, "group"), Topics: []string{forwarded}}, nil)
	s.waitFor(3 * len(all))
	for i, e := range s.got() {
		e.At = bus.Position{}
		want := all[i%len(all)]
		want.At = bus.Position{}
		if diff := cmp.Diff(want, e, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("event %d: published (-), forwarded and read (+):\n%s", i, diff)
		}
	}
}

// An event that Validate lets through is taken by the broker in either mode: Size counts the headers too.
func TestTheLargestEventIsTakenInBothModes(t *testing.T) {
	t.Parallel()
	structured, binary, topic := modes(t)
	large := func(part func(e *bus.Event, filling string)) bus.Event {
		e := event("k", 1)
		part(&e, "")
		part(&e, strings.Repeat("f", bus.MaxEventBytes-e.Size()))
		return e
	}
	all := []bus.Event{
		large(func(e *bus.Event, filling string) { e.Data = []byte(filling) }),
		large(func(e *bus.Event, filling string) { e.Ext = map[string]string{"large": filling} }),
	}
	for _, b := range []bus.Bus{structured, binary} {
		publish(t, b, topic, all...)
		over := all[1]
		over.Data = append(over.Data, 'x')
		if err := b.Publish(t.Context(), topic, over); !errors.Is(err, bus.ErrTooLarge) {
			t.Errorf("one byte more: %v", err)
		}
	}
	s := subscribe(t, structured, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	s.waitFor(2 * len(all))
	for i, e := range s.got() {
		if want := all[i%2]; e.Err != nil || len(e.Data) != len(want.Data) || len(e.Ext["large"]) != len(want.Ext["large"]) {
			t.Errorf("event %d: %d bytes of data, %d of %d in an extension, %v", i, len(e.Data), len(e.Ext["large"]), len(want.Ext["large"]), e.Err)
		}
	}
}

// An empty value is data of no bytes; a null one means that there is none, and deletes in a compacted topic.
func TestEmptyAndNullValues(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url, "mode=binary", "partitions=1")
	topic := unique(t, "topic")
	e := event("k", 1)
	e.Data, e.Time = nil, time.Time{}
	publish(t, b, topic, e)
	cl := client(t, url, kgo.ConsumeTopics(topic))
	ours := nextRecord(t, cl)
	if ours.Value == nil || len(ours.Value) > 0 {
		t.Errorf("an event without data has the value %v, want an empty one", ours.Value)
	}
	tombstone := &kgo.Record{Topic: topic, Key: ours.Key, Headers: ours.Headers}
	bare := &kgo.Record{Topic: topic, Key: ours.Key}
	if err := cl.ProduceSync(t.Context(), tombstone, bare).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	s.waitFor(3)
	for i, got := range s.got() {
		if i < 2 && (got.Err != nil || got.ID != e.ID || got.Key != "k" || len(got.Data) > 0 || got.DataType != "") ||
			i == 2 && (got.Err == nil || got.Key != "k") {
			t.Errorf("record %d: %+v", i, got)
		}
	}
}
