package kafka_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/twmb/franz-go/pkg/kadm"
)

func TestASubscriptionWaitsForABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	b := open(t, "kafka://"+addr)
	topic := unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	other := subscribe(t, b, bus.Subscription{Group: unique(t, "other"), Topics: []string{topic}}, nil)
	if err := other.stop(); err != nil {
		t.Errorf("ended while waiting: %v", err)
	}
	startBroker(t, t.TempDir(), addr)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, topic, event("a", 1))
	s.waitFor(1)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	closeBus(t, b)
}

func TestReadinessFollowsTheBroker(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			k := startBroker(t, dir, "127.0.0.1:0")
			b := open(t, k.URL(), "group.protocol="+protocol)
			topic := unique(t, "topic")
			s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
			eventually(t, "the subscription", s.isReady)
			stopBroker(t, k)
			eventually(t, "the outage to be told", func() bool { return !s.isReady() })
			startBroker(t, dir, k.Addr())
			eventually(t, "the recovery to be told", s.isReady) // on a topic where nothing happens
			publish(t, b, topic, event("a", 1))
			s.waitFor(1)
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			closeBus(t, b)
		})
	}
}

func TestASubscriptionEndsQuicklyWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	k := startBroker(t, t.TempDir(), "127.0.0.1:0")
	b := open(t, k.URL())
	topic := unique(t, "topic")
	group := unique(t, "group")
	s := subscribe(t, b, bus.Subscription{Group: group, Topics: []string{topic}}, nil)
	publish(t, b, topic, events(1, 10, "a")...)
	s.waitFor(10)
	admin := kadm.NewClient(client(t, k.URL()))
	eventually(t, "the commit, which may hold up Close while it is on its way", func() bool {
		committed, err := admin.FetchOffsets(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		committed.Each(func(o kadm.OffsetResponse) { sum += max(0, o.At) })
		return sum == 10
	})
	stopBroker(t, k)
	eventually(t, "the outage to be told", func() bool { return !s.isReady() })
	start := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	closeBus(t, b)
	if took := time.Since(start); took > 9*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestABrokerRestartedUnderLoadLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := startBroker(t, dir, "127.0.0.1:0")
	addr := k.Addr()
	topic := unique(t, "topic")
	pub := open(t, k.URL())
	db := newDatabase()
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume}
	members := []*subscriber{subscribe(t, open(t, k.URL()), sub, db.handle), subscribe(t, open(t, k.URL()), sub, db.handle)}
	stop := make(chan struct{})
	published := make(chan int)
	go func() { published <- publishUntil(t, pub, topic, stop) }()
	for range 3 {
		before := db.count()
		eventually(t, "more events", func() bool { return db.count() > before+1000 })
		stopBroker(t, k)
		k = startBroker(t, dir, addr)
	}
	before := db.count()
	eventually(t, "more events", func() bool { return db.count() > before+1000 })
	close(stop)
	n := <-published
	eventually(t, "all events", func() bool { return db.count() == n })
	db.check(t, n)
	for _, m := range members {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestAClosedBusRefusesAndEndsItsSubscriptions(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); err == nil {
		t.Error("Close didn't tell that a subscription was standing")
	}
	if err := s.wait(); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Subscribe returned %v", err)
	}
	if err := b.Publish(t.Context(), topic, event("a", 1)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Publish returned %v", err)
	}
	if err := b.Subscribe(t.Context(), bus.Subscription{Group: "g", Topics: []string{topic}}, nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Subscribe returned %v", err)
	}
	if _, err := b.(bus.Inspector).Partitions(t.Context(), topic); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Partitions returned %v", err)
	}
}
