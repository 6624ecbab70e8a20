package kafka_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestRangesJoinWithoutHolesAndHoldTheirEvents(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topics := []string{unique(t, "one"), unique(t, "two")}
	sub := bus.Subscription{Group: unique(t, "group"), Topics: topics, MaxBatch: 100}
	s := subscribe(t, b, sub, nil)
	for _, topic := range topics {
		publish(t, b, topic, events(1, 50, keys(30)...)...)
	}
	s.waitFor(3000)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	reached := map[bus.Position]int64{} // by position without offset
	for _, d := range s.deliveries {
		checkDelivery(t, d, sub.MaxBatch)
		for _, r := range d.Ranges {
			log := r.Position
			log.Offset = 0
			if r.Offset != reached[log] {
				t.Fatalf("a range of %+v begins at %d, behind %d", log, r.Offset, reached[log])
			}
			reached[log] = r.Next
		}
	}
	for _, p := range partitions(t, b, topics...) {
		log := p.Position
		log.Offset = 0
		if reached[log] != p.Next {
			t.Errorf("%+v was read up to %d of %d", log, reached[log], p.Next)
		}
	}
}

// checkDelivery fails unless every event is in a range, in order, and ranges are in order, one a partition.
func checkDelivery(t *testing.T, d bus.Delivery, maxBatch int) {
	t.Helper()
	if len(d.Events) == 0 || len(d.Events) > maxBatch {
		t.Errorf("a delivery of %d events", len(d.Events))
	}
	if !slices.IsSortedFunc(d.Ranges, func(a, b bus.Range) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition - b.Partition)
	}) {
		t.Errorf("ranges out of order: %v", d.Ranges)
	}
	next := map[bus.Position]int64{}
	for _, r := range d.Ranges {
		log := r.Position
		log.Offset = 0
		if _, twice := next[log]; twice || r.Next <= r.Offset {
			t.Errorf("ranges %v", d.Ranges)
		}
		next[log] = r.Offset
	}
	for _, e := range d.Events {
		log := e.At
		log.Offset = 0
		from, ok := next[log]
		if !ok || e.At.Offset < from {
			t.Fatalf("event at %+v, ranges %v", e.At, d.Ranges)
		}
		next[log] = e.At.Offset + 1
	}
}

func TestANewGroupStartsWhereItWasToldTo(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url)
	topic := unique(t, "topic")
	publish(t, b, topic, events(1, 10, keys(10)...)...)
	// The log tells times to the millisecond, so that of the last event has to be over.
	last := time.Now()
	eventually(t, "the next millisecond", func() bool { return time.Now().UnixMilli() > last.UnixMilli() })
	middle := time.Now()
	publish(t, b, topic, events(11, 20, keys(10)...)...)
	cases := []struct {
		start bus.Start
		first int // the first version to arrive
	}{
		{bus.Earliest(), 1},
		{bus.Since(middle), 11},
		{bus.Latest(), 21},
		{bus.Since(time.Now().Add(time.Hour)), 21},
		{bus.Since(middle.Add(-time.Hour)), 1},
	}
	var subs []*subscriber
	for _, c := range cases {
		s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Start: c.start}, nil)
		eventually(t, "the subscription", s.isReady)
		subs = append(subs, s)
	}
	publish(t, b, topic, events(21, 30, keys(10)...)...)
	for i, c := range cases {
		n := (31 - c.first) * 10
		subs[i].waitFor(n)
		if err := subs[i].stop(); err != nil {
			t.Error(err)
		}
		got := subs[i].got()
		for _, e := range got {
			if int(e.Version) < c.first {
				t.Errorf("%v: version %d arrived", c.start, e.Version)
			}
		}
		if len(got) != n {
			t.Errorf("%v: %d events, want %d", c.start, len(got), n)
		}
	}
}

func TestWhatIsAddedToAGroupThatStartedAtTheEndIsNotMissed(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url, "partitions=1")
	one, two := unique(t, "one"), unique(t, "two")
	publish(t, b, one, events(1, 10, "a")...)
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{one}, Start: bus.Latest()}
	s := subscribe(t, b, sub, nil)
	eventually(t, "the subscription", s.isReady)

	// A partition that is added later is read from its start.
	if _, err := kadm.NewClient(client(t, url)).UpdatePartitions(t.Context(), 3, one); err != nil {
		t.Fatal(err)
	}
	publish(t, open(t, url), one, events(1, 10, keys(30)...)...)
	s.waitFor(300)
	checkOrder(t, s.got(), 30, 10)
	if err := s.stop(); err != nil {
		t.Error(err)
	}

	// A topic that is added later starts where it is told to, like a group of its own.
	publish(t, b, two, events(1, 10, "b")...)
	sub.Topics = append(sub.Topics, two)
	s = subscribe(t, b, sub, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, one, event("key-0", 11))
	publish(t, b, two, event("b", 11))
	s.waitFor(2)
	for _, e := range s.got() {
		if e.Version != 11 {
			t.Errorf("%s arrived", e.ID)
		}
	}
}

func TestWithoutResumeAGroupGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url)
	topic := unique(t, "topic")
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}
	publish(t, b, topic, events(1, 10, keys(10)...)...)
	first := subscribe(t, b, sub, nil)
	first.waitFor(100)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	publish(t, b, topic, events(11, 20, keys(10)...)...)
	second := subscribe(t, b, sub, nil)
	second.waitFor(100)
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	checkOrder(t, append(first.got(), second.got()...), 10, 20)

	committed, err := kadm.NewClient(client(t, url)).FetchOffsets(t.Context(), sub.Group)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range partitions(t, b, topic) {
		if o, ok := committed.Lookup(topic, p.Partition); p.Next > 0 && (!ok || o.At != p.Next) {
			t.Errorf("partition %d is committed up to %v of %d", p.Partition, o.At, p.Next)
		}
	}
}

func TestAFailedDeliveryComesAgainAndNothingOvertakesIt(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	var failures atomic.Int32
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, MaxBatch: 7},
		func(_ context.Context, d bus.Delivery) error {
			if n := failures.Add(1); n%3 != 0 {
				return bus.RetryAfter(time.Millisecond, errors.New("not yet"))
			}
			return nil
		})
	publish(t, b, topic, events(1, 20, keys(5)...)...)
	s.waitFor(100)
	checkOrder(t, s.got(), 5, 20)
}

func TestAPermanentErrorEndsSubscribe(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	cause := errors.New("no use")
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}},
		func(context.Context, bus.Delivery) error { return bus.Permanent(cause) })
	publish(t, b, topic, event("a", 1))
	if err := s.wait(); !errors.Is(err, cause) || !bus.IsPermanent(err) {
		t.Fatalf("Subscribe returned %v", err)
	}
	if s.isReady() {
		t.Error("it is still ready")
	}
}

func TestARecordThatIsNoCloudEventIsDeliveredWithItsFault(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url)
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	cl := client(t, url)
	header := []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}
	good := event("a", 2)
	for _, r := range []*kgo.Record{
		{Value: []byte("plain")},
		{Value: []byte("broken"), Headers: header},
		{Value: nil, Headers: header},
		{Value: []byte("{}"), Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}}},
		{Value: good.AppendEnvelope(nil), Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope + "; charset=utf-8")}}},
	} {
		r.Topic, r.Key = topic, []byte("a")
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	s.waitFor(6)
	got := s.got()
	for i, want := range []struct {
		data string
		bad  bool
	}{{"a 1", false}, {"plain", true}, {"broken", true}, {"", true}, {"{}", true}, {"a 2", false}} {
		e := got[i]
		if e.Key != "a" || string(e.Data) != want.data || (e.Err != nil) != want.bad || e.At.Offset != int64(i) {
			t.Errorf("event %d: key %q, data %q, at %d, err %v", i, e.Key, e.Data, e.At.Offset, e.Err)
		}
	}
}

func TestTheEndOfASubscriptionLetsTheDeliveryInHandFinish(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}
	entered, leave := make(chan struct{}), make(chan struct{})
	s := subscribe(t, b, sub, func(ctx context.Context, _ bus.Delivery) error {
		close(entered)
		<-leave
		return ctx.Err()
	})
	publish(t, b, topic, event("a", 1))
	<-entered
	s.cancel()
	close(leave)
	if err := s.wait(); err != nil || s.count() != 1 {
		t.Fatalf("Subscribe returned %v after %d events", err, s.count())
	}
	publish(t, b, topic, event("a", 2))
	again := subscribe(t, b, sub, nil)
	again.waitFor(1)
	if v := again.got()[0].Version; v != 2 {
		t.Errorf("version %d came again", v)
	}
}

func TestTheEndOfASubscriptionBoundsTheDeliveryInHand(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t), "drain=100ms")
	topic := unique(t, "topic")
	entered := make(chan struct{})
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}},
		func(ctx context.Context, _ bus.Delivery) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		})
	publish(t, b, topic, event("a", 1))
	<-entered
	start := time.Now()
	if err := s.stop(); err != nil || s.count() != 0 {
		t.Fatalf("Subscribe returned %v after %d events", err, s.count())
	}
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("the handler had %v", took)
	}
}

func TestASubscriptionIsReadyWithoutAPartition(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"consumer", "classic"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			url := brokerURL(t)
			topic := unique(t, "topic")
			sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}
			for range 2 {
				s := subscribe(t, open(t, url, "partitions=1", "group.protocol="+protocol), sub, nil)
				eventually(t, "the member", s.isReady)
			}
		})
	}
}

func TestAMissingTopicIsMade(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t), "partitions=3")
	topic := unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	if n := len(partitions(t, b, topic)); n != 3 {
		t.Errorf("%d partitions", n)
	}
}

func TestTransactionMarkersMoveTheRangesOn(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url, "partitions=1")
	topic := unique(t, "topic")
	publish(t, b, topic, event("a", 1))
	transaction(t, url, topic, kgo.TryAbort)
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	const end = 3 // the event, the record of the transaction, and its marker, which the broker writes by and by
	eventually(t, "the marker", func() bool { return partitions(t, b, topic)[0].Next == end })
	eventually(t, "the range behind the transaction", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		n := len(s.deliveries)
		return n > 0 && s.deliveries[n-1].Ranges[0].Next == end
	})
	if s.count() != 1 {
		t.Errorf("%d events; what was aborted must not arrive", s.count())
	}
	transaction(t, url, topic, kgo.TryCommit)
	s.waitFor(2)
}

// transaction writes a record in a transaction of its own.
func transaction(t *testing.T, url, topic string, how kgo.TransactionEndTry) {
	t.Helper()
	cl := client(t, url, kgo.TransactionalID(unique(t, "tx")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	e := event("a", 2)
	err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("a"), Value: e.AppendEnvelope(nil),
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}}).FirstErr()
	if err := errors.Join(err, cl.EndTransaction(t.Context(), how)); err != nil {
		t.Fatal(err)
	}
}
