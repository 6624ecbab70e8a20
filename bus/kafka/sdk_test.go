package kafka_test

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	cesdk "github.com/cloudevents/sdk-go/binding/format/protobuf/v2"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tidings-dev/tidings/bus"
)

// The CloudEvents SDK for Go is the peer that both modes are checked against, with its own client, over a broker.

// forSDK are events of every shape that may differ between the modes.
func forSDK() []bus.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return []bus.Event{
		{ID: "1", Source: "/users", Type: "test.Plain", Key: "k", Version: 1, Time: at, Data: []byte{0x0a, 0x01, 'x'}},
		{ID: "2", Source: "/users", Type: "test.Full", Key: "ü 100%", Version: 1 << 63, Seq: 1<<64 - 1, SeqLog: "log", Time: at,
			Data: []byte{0xff}, Ext: map[string]string{"traceparent": "00-a-b-01", "mine": "ü\"%20"}},
		{ID: "3", Source: "urn:x", Type: "test.JSON", Key: "k", DataType: "application/json", Data: []byte(`{"a":1}`),
			Ext: map[string]string{"dataschema": "https://example.com/1"}},
		{ID: "4", Source: "/s", Type: "test.Text", Key: "k", DataType: "text/plain; charset=utf-8", Data: []byte("ü")},
		{ID: "5", Source: "/s", Type: "test.Nothing", Key: "k"},
	}
}

func TestTheCloudEventsSDKReadsWhatWePublish(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	for _, mode := range []string{"structured", "binary"} {
		b := open(t, url, "mode="+mode, "partitions=1")
		topic := unique(t, mode)
		want := forSDK()
		publish(t, b, topic, want...)
		for i, m := range sdkMessages(t, url, topic, len(want)) {
			if got := m.ReadEncoding().String(); got != mode {
				t.Errorf("%s: event %d: the SDK takes it for %s", mode, i, got)
			}
			got, err := binding.ToEvent(t.Context(), m)
			if err != nil {
				t.Errorf("%s: event %d: %v", mode, i, err)
				continue
			}
			if err := got.Validate(); err != nil {
				t.Errorf("%s: event %d: the SDK finds it invalid: %v", mode, i, err)
			}
			checkSDKEvent(t, mode, want[i], *got)
		}
	}
}

// sdkMessages reads the first records of a topic with one partition, as the SDK's own receiver does.
func sdkMessages(t *testing.T, url, topic string, n int) []*kafka_sarama.Message {
	t.Helper()
	c, err := sarama.NewConsumer([]string{hostPort(url)}, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var all []*kafka_sarama.Message
	for len(all) < n {
		select {
		case m := <-p.Messages():
			all = append(all, kafka_sarama.NewMessageFromConsumerMessage(m))
		case <-time.After(patience):
			t.Fatalf("the SDK's client has %d records of %d", len(all), n)
		}
	}
	return all
}

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V2_8_0_0
	c.Producer.RequiredAcks = sarama.WaitForAll
	return c
}

// checkSDKEvent compares what the SDK has read with what was published. It adds three extensions of its own in binary
// mode, and takes the sets of names for what they are in structured mode.
func checkSDKEvent(t *testing.T, mode string, want bus.Event, got ce.Event) {
	t.Helper()
	if got.ID() != want.ID || got.Source() != want.Source || got.Type() != want.Type || got.Subject() != want.Key ||
		!got.Time().Equal(want.Time) || !bytes.Equal(got.Data(), want.Data) {
		t.Errorf("%s: published %+v, it reads\n%v", mode, want, got)
	}
	if kind := got.DataContentType(); kind != want.DataType && (want.DataType != "" || kind != bus.TypeProtobuf) {
		t.Errorf("%s: %s: datacontenttype %q", mode, want.ID, kind)
	}
	if schema := want.Ext["dataschema"]; schema != "" && got.DataSchema() != schema {
		t.Errorf("%s: %s: dataschema %q", mode, want.ID, got.DataSchema())
	}
	ext := map[string]any{}
	for name, value := range want.Ext {
		if name != "dataschema" {
			ext[name] = value
		}
	}
	if want.Version > 0 {
		ext["version"] = strconv.FormatUint(want.Version, 10)
	}
	if want.Seq > 0 {
		ext["sequence"], ext["sequencelog"] = strconv.FormatUint(want.Seq, 10), want.SeqLog
	}
	own := cmpopts.IgnoreMapEntries(func(name string, _ any) bool { return strings.HasPrefix(name, "kafka") })
	if diff := cmp.Diff(ext, got.Extensions(), own, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: %s: extensions wanted (-), read (+):\n%s", mode, want.ID, diff)
	}
}

// sdkEvents are events as a program that knows only the SDK makes them: attributes of every type, no versions of ours,
// data of several kinds, one without a subject and one without data.
func sdkEvents(t *testing.T) []ce.Event {
	t.Helper()
	full := ce.New()
	full.SetSubject("thing-1")
	full.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)))
	full.SetDataSchema("https://example.com/1")
	for name, value := range map[string]any{
		"version": "12", "sequence": int32(3), "flag": true, "count": int32(-5), "when": time.Unix(1, 500).UTC(),
		"raw": []byte{1, 2, 255}, "text": "ü 100%",
	} {
		full.SetExtension(name, value)
	}
	if err := full.SetData("application/json", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	bytes := ce.New()
	if err := bytes.SetData("application/octet-stream", []byte{0, 255}); err != nil {
		t.Fatal(err)
	}
	nothing := ce.New()
	nothing.SetSubject("thing-2")
	all := []ce.Event{full, bytes, nothing}
	for i := range all {
		all[i].SetID(strconv.Itoa(i))
		all[i].SetSource("urn:elsewhere")
		all[i].SetType("com.example.thing")
	}
	return all
}

func TestWeReadWhatTheCloudEventsSDKPublishes(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url, "partitions=1")
	topic := unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	eventually(t, "the topic", s.isReady)
	sender, err := kafka_sarama.NewSender([]string{hostPort(url)}, saramaConfig(), topic)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close(t.Context())
	keyed := kafka_sarama.WithMessageKey(t.Context(), sarama.StringEncoder("record-key"))
	modes := []context.Context{
		binding.WithForceBinary(keyed),
		binding.UseFormatForEvent(binding.WithForceStructured(keyed), cesdk.Protobuf),
		binding.WithForceStructured(keyed), // in JSON
	}
	all := sdkEvents(t)
	for _, ctx := range modes {
		for i := range all {
			if err := sender.Send(ctx, binding.ToMessage(&all[i])); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.waitFor(len(modes) * len(all))
	got := s.got()
	want := []bus.Event{
		{ID: "0", Key: "thing-1", Version: 12, Seq: 3, Time: time.Date(2026, 1, 2, 2, 4, 5, 6, time.UTC),
			DataType: "application/json", Data: []byte(`{"a":1}`), Ext: map[string]string{
				"dataschema": "https://example.com/1", "flag": "true", "count": "-5", "when": "1970-01-01T00:00:01.0000005Z",
				"raw": "AQL/", "text": "ü 100%",
			}},
		{ID: "1", Key: "record-key", DataType: "application/octet-stream", Data: []byte{0, 255}},
		{ID: "2", Key: "thing-2"},
	}
	for i, e := range got {
		if i >= 2*len(all) {
			if e.Err == nil || !strings.Contains(e.Err.Error(), "application/cloudevents+json") || e.Key != "record-key" {
				t.Errorf("of a format that we don't read: %+v", e)
			}
			continue
		}
		w := want[i%len(all)]
		w.Source, w.Type, w.At = "urn:elsewhere", "com.example.thing", e.At
		if i == 5 { // in Protobuf format the SDK writes empty data of no type where there is none
			w.DataType = "application/octet-stream"
		}
		if diff := cmp.Diff(w, e, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("record %d: want (-), got (+):\n%s", i, diff)
		}
	}
}
