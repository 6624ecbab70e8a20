package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestEventsArriveInOrderByKey(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	var publishers sync.WaitGroup
	for p := range 4 { // each has keys of its own, so their calls may overlap
		publishers.Go(func() {
			for v := 1; v <= 100; v += 20 {
				publish(t, b, topic, events(v, v+19, fmt.Sprintf("a%d", p), fmt.Sprintf("b%d", p), fmt.Sprintf("c%d", p))...)
			}
		})
	}
	publishers.Wait()
	s.waitFor(1200)
	checkOrder(t, s.got(), 12, 100)
}

// checkOrder fails unless all holds versions 1 to n of each key, in order.
func checkOrder(t *testing.T, all []bus.Event, wantKeys, n int) {
	t.Helper()
	last := map[string]uint64{}
	for _, e := range all {
		if e.Err != nil || e.Version != last[e.Key]+1 || string(e.Data) != fmt.Sprintf("%s %d", e.Key, e.Version) {
			t.Fatalf("%s: version %d after %d, data %q, err %v", e.Key, e.Version, last[e.Key], e.Data, e.Err)
		}
		last[e.Key] = e.Version
	}
	if len(last) != wantKeys {
		t.Fatalf("%d keys, want %d", len(last), wantKeys)
	}
	for key, v := range last {
		if v != uint64(n) {
			t.Errorf("%s ends at version %d, want %d", key, v, n)
		}
	}
}

func TestPublishFillsInWhereEachEventStands(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	all := events(1, 10, keys(10)...)
	all[0].At = bus.Position{Topic: "elsewhere", Offset: 7} // as in an event that was read and is forwarded
	publish(t, b, topic, all...)
	parts := partitions(t, b, topic)
	counts := map[int32]int64{}
	seen := map[string]bool{}
	for _, e := range all {
		p := parts[e.At.Partition]
		if e.At.Topic != topic || e.At.Log != p.Log || e.At.Offset < p.First || e.At.Offset >= p.Next {
			t.Fatalf("%s stands at %+v, of a partition %+v", e.ID, e.At, p)
		}
		place := fmt.Sprint(e.At.Partition, " ", e.At.Offset)
		if seen[place] {
			t.Fatalf("two events stand at %s", place)
		}
		seen[place] = true
		counts[e.At.Partition]++
	}
	for _, p := range parts {
		if counts[p.Partition] != p.Next {
			t.Errorf("partition %d: %d events told, the log holds %d", p.Partition, counts[p.Partition], p.Next)
		}
	}
}

func partitions(t testing.TB, b bus.Bus, topics ...string) []bus.Partition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	parts, err := b.(bus.Inspector).Partitions(ctx, topics...)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func TestRecordsAreStructuredCloudEventsWhereAJVMWouldPutThem(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url)
	topic := unique(t, "topic")
	all := events(1, 1, keys(50)...)
	before := time.Now().Add(-time.Second)
	publish(t, b, topic, all...)
	cl := client(t, url, kgo.ConsumeTopics(topic))
	java := kgo.StickyKeyPartitioner(nil).ForTopic(topic) // Java's murmur2
	for range all {
		r := nextRecord(t, cl)
		e, err := bus.ParseEnvelope(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Headers) != 1 || r.Headers[0].Key != "content-type" || string(r.Headers[0].Value) != bus.TypeEnvelope {
			t.Errorf("headers %v", r.Headers)
		}
		if string(r.Key) != e.Key {
			t.Errorf("record key %q of an event about %q", r.Key, e.Key)
		}
		if want := java.Partition(&kgo.Record{Key: r.Key}, 12); int(r.Partition) != want {
			t.Errorf("%s is in partition %d; Java puts it into %d", r.Key, r.Partition, want)
		}
		if r.Timestamp.Before(before) {
			t.Errorf("time %v; want that of publishing", r.Timestamp)
		}
		if onRealBroker() && r.Attrs.TimestampType() != 1 { // the embedded one takes the publisher's
			t.Errorf("time %v, type %d; want the broker's own", r.Timestamp, r.Attrs.TimestampType())
		}
	}
}

func client(t testing.TB, url string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(hostPort(url)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func nextRecord(t testing.TB, cl *kgo.Client) *kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f := cl.PollRecords(ctx, 1)
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	return f.Records()[0]
}

func TestPublishWaitsForABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	b := open(t, "kafka://"+addr)
	topic := unique(t, "topic")
	done := make(chan error, 1)
	go func() { done <- b.Publish(t.Context(), topic, events(1, 10, "a")...) }()
	select {
	case err := <-done:
		t.Fatalf("Publish returned %v without a broker", err)
	case <-time.After(200 * time.Millisecond):
	}
	startBroker(t, t.TempDir(), addr)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// freeAddr finds an address where nothing listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: t.TempDir(), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	addr := k.Addr()
	stopBroker(t, k)
	return addr
}

func TestPublishEndsWithItsContextAndTellsWhatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := startBroker(t, dir, "127.0.0.1:0")
	b := open(t, k.URL())
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	stopBroker(t, k)

	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("patience is over"))
	defer cancel()
	all := events(2, 6, "a")
	err := b.Publish(ctx, topic, all...)
	var failed *bus.PublishError
	if !errors.As(err, &failed) || len(failed.Failed) != 5 || !strings.Contains(err.Error(), "patience is over") {
		t.Fatalf("got %v, want a PublishError of five events", err)
	}
	for i, e := range all {
		if failed.Failed[i] == nil || e.At != (bus.Position{}) {
			t.Errorf("event %d: error %v, At %+v", i, failed.Failed[i], e.At)
		}
	}
	startBroker(t, dir, k.Addr())
	publish(t, b, topic, events(7, 10, "a")...)
}

func TestPublishReportsWhatTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url)
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	adm := kadm.NewClient(client(t, url))
	small := "2000"
	if _, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &small}}, topic); err != nil {
		t.Fatal(err)
	}
	large := event("a", 2)
	large.Data = make([]byte, 100_000)
	eventually(t, "a refusal", func() bool { // a broker needs a moment to take in the setting
		var failed *bus.PublishError
		return errors.As(b.Publish(t.Context(), topic, large), &failed) && failed.Failed[0] != nil
	})
	// The refusal ended the producer, for a gap must not follow; there is a new one by now.
	eventually(t, "another event", func() bool { return b.Publish(t.Context(), topic, event("a", 3)) == nil })
}

func TestOversizeEventsAreRefusedAndTheLargestIsNot(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	e := event("a", 1)
	e.Data = make([]byte, bus.MaxEventBytes)
	if err := b.Publish(t.Context(), topic, e); !errors.Is(err, bus.ErrTooLarge) {
		t.Fatalf("got %v, want ErrTooLarge", err)
	}
	e.Data = nil
	e.Data = make([]byte, bus.MaxEventBytes-e.Size())
	e.Data[len(e.Data)-1] = 1
	publish(t, b, topic, e)
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	s.waitFor(1)
	if got := s.got()[0]; !slices.Equal(got.Data, e.Data) {
		t.Errorf("%d bytes arrived, want %d", len(got.Data), len(e.Data))
	}
}

func TestAFullQueueIsWaitedOut(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	all := events(1, 90, keys(1000)...) // 90 MB, into a queue of 64
	data := make([]byte, 1000)
	for i := range all {
		all[i].Data = data
	}
	publish(t, b, topic, all...)
	if n := total(partitions(t, b, topic)); n != int64(len(all)) {
		t.Errorf("the log holds %d events, want %d", n, len(all))
	}
}

func total(parts []bus.Partition) (n int64) {
	for _, p := range parts {
		n += p.Next - p.First
	}
	return n
}

func TestAProducerThatFailedForGoodIsReplaced(t *testing.T) {
	t.Parallel()
	k := startBroker(t, t.TempDir(), "127.0.0.1:0")
	b := open(t, k.URL())
	topic := unique(t, "topic")
	publish(t, b, topic, events(1, 10, "a")...)
	faults := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1})
	defer faults.Remove()
	all := events(11, 20, "a")
	err := b.Publish(t.Context(), topic, all...)
	var failed *bus.PublishError
	if !errors.As(err, &failed) || len(failed.Failed) != 10 {
		t.Fatalf("got %v, want a PublishError of all ten", err)
	}
	eventually(t, "publishing again", func() bool { return b.Publish(t.Context(), topic, all...) == nil })
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	s.waitFor(20)
	checkOrder(t, s.got(), 1, 20)
}

func TestAtNamesTheTopicThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url)
	topic := unique(t, "topic")
	first := events(1, 20, keys(20)...)
	publish(t, b, topic, first...)
	adm := kadm.NewClient(client(t, url))
	if _, err := adm.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	var second []bus.Event
	eventually(t, "publishing into the new topic", func() bool {
		second = events(1, 20, keys(20)...)
		return b.Publish(t.Context(), topic, second...) == nil && second[0].At.Log != first[0].At.Log
	})
	for _, p := range partitions(t, b, topic) {
		for _, e := range second {
			if e.At.Log != p.Log {
				t.Fatalf("stands in %q; the topic is %q", e.At.Log, p.Log)
			}
		}
	}
}

func TestCloseWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	k := startBroker(t, t.TempDir(), "127.0.0.1:0")
	b := open(t, k.URL())
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	arrived, answer := holdProduce(k)
	published, closed := make(chan error, 1), make(chan error, 1)
	go func() { published <- b.Publish(t.Context(), topic, event("a", 2)) }()
	<-arrived
	go func() { closed <- b.Close(t.Context()) }()
	eventually(t, "Close to refuse more", func() bool { return errors.Is(b.Publish(done(t), topic, event("b", 1)), bus.ErrClosed) })
	select {
	case err := <-closed:
		t.Errorf("Close returned %v with a Publish in flight", err)
	default:
	}
	close(answer)
	if err := errors.Join(<-published, <-closed); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// holdProduce has the broker stand still when the next events arrive, until answer is closed.
func holdProduce(k *embedded.Kafka) (arrived, answer chan struct{}) {
	arrived, answer = make(chan struct{}, 1), make(chan struct{})
	k.Cluster().ControlKey(kmsg.Produce.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case arrived <- struct{}{}:
		default:
		}
		<-answer
		return nil, nil, false
	})
	return arrived, answer
}

// done is a context that has ended.
func done(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	k := startBroker(t, t.TempDir(), "127.0.0.1:0")
	b := open(t, k.URL())
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	arrived, answer := holdProduce(k)
	defer close(answer)
	published := make(chan error, 1)
	go func() { published <- b.Publish(t.Context(), topic, events(2, 10, "a")...) }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close returned %v", err)
	}
	var failed *bus.PublishError
	if err := <-published; !errors.As(err, &failed) || len(failed.Failed) != 9 {
		t.Errorf("Publish returned %v, want a PublishError of nine", err)
	}
}
