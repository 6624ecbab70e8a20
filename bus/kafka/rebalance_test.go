package kafka_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// protocols are the two kinds of consumer group.
var protocols = []string{"consumer", "classic"}

func TestMembersThatComeAndGoLoseNothingAndRepeatNothing(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			url := brokerURL(t)
			topic := unique(t, "topic")
			db := newDatabase() // all members share it
			sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume, MaxBatch: 100}
			member := func() *subscriber {
				s := subscribe(t, open(t, url, "group.protocol="+protocol), sub, db.handle)
				eventually(t, "the member", s.isReady)
				return s
			}
			first := member()
			stop := make(chan struct{})
			published := make(chan int)
			pub := open(t, url)
			go func() { published <- publishUntil(t, pub, topic, stop) }()

			eventually(t, "the first events", func() bool { return db.count() > 1000 })
			second := member()
			before := db.count()
			eventually(t, "more events", func() bool { return db.count() > before+1000 })
			if err := first.stop(); err != nil {
				t.Error(err)
			}
			third := member()
			before = db.count()
			eventually(t, "more events", func() bool { return db.count() > before+1000 })
			close(stop)
			n := <-published
			eventually(t, "all events", func() bool { return db.count() == n })
			db.check(t, n)
			if err := errors.Join(second.stop(), third.stop()); err != nil {
				t.Error(err)
			}
			if second.count() == 0 {
				t.Error("the second member had nothing to do")
			}
		})
	}
}

// publishUntil publishes until stop is closed, and returns how many events that were.
func publishUntil(t *testing.T, b bus.Bus, topic string, stop chan struct{}) int {
	n, names := 0, keys(50)
	for v := 1; ; v++ {
		select {
		case <-stop:
			return n
		case <-time.After(2 * time.Millisecond):
		}
		all := events(v, v, names...)
		for {
			err := b.Publish(t.Context(), topic, all...)
			if err == nil {
				break
			}
			if t.Context().Err() != nil {
				return n
			}
			t.Log("publishing again:", err)
		}
		n += len(all)
	}
}

func TestARevocationLetsTheDeliveryInHandFinish(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			url := brokerURL(t)
			topic := unique(t, "topic")
			sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}
			b := open(t, url, "group.protocol="+protocol)
			entered, leave := make(chan struct{}, 1), make(chan struct{})
			var cut atomic.Bool
			first := subscribe(t, b, sub, func(ctx context.Context, _ bus.Delivery) error {
				select {
				case entered <- struct{}{}:
					<-leave
				default:
				}
				cut.Store(cut.Load() || ctx.Err() != nil)
				return ctx.Err()
			})
			publish(t, b, topic, events(1, 10, keys(24)...)...)
			<-entered
			second := subscribe(t, open(t, url, "group.protocol="+protocol), sub, nil)
			time.AfterFunc(time.Second, func() { close(leave) }) // by then the second wants its share
			eventually(t, "both", func() bool { return second.isReady() && first.count()+second.count() >= 240 })
			publish(t, b, topic, events(11, 20, keys(24)...)...)
			eventually(t, "all", func() bool { return first.count()+second.count() >= 480 })
			if first.count()+second.count() > 480 || cut.Load() {
				t.Errorf("%d and %d events for 480; cut short: %v", first.count(), second.count(), cut.Load())
			}
		})
	}
}

func TestARevocationCutsAStuckHandlerShort(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			url := brokerURL(t)
			topic := unique(t, "topic")
			db := newDatabase()
			sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume}
			b := open(t, url, "drain=200ms", "group.protocol="+protocol)
			const all = 12
			entered := make(chan struct{})
			var stuck bool // like left, the first member's handler's alone until it has ended
			var left int
			first := subscribe(t, b, sub, func(ctx context.Context, d bus.Delivery) error {
				switch {
				case !stuck && len(d.Ranges) == all:
					stuck = true
					close(entered)
					<-ctx.Done() // a statement that hangs, until its context ends
					return ctx.Err()
				case !stuck: // slowly, for the next delivery to be larger
					time.Sleep(10 * time.Millisecond)
				case left == 0:
					left = len(d.Ranges)
				}
				return db.handle(ctx, d)
			})
			stop := make(chan struct{})
			published := make(chan int, 1)
			go func() { published <- publishUntil(t, b, topic, stop) }()
			<-entered
			second := subscribe(t, open(t, url, "group.protocol="+protocol), sub, db.handle)
			before := db.count()
			eventually(t, "more events", func() bool { return db.count() > before+1000 })
			close(stop)
			n := <-published
			eventually(t, "all events", func() bool { return db.count() == n })
			db.check(t, n)
			if err := errors.Join(first.stop(), second.stop()); err != nil {
				t.Error(err)
			}
			if left == 0 || left >= all {
				t.Errorf("the delivery came again with %d partitions", left)
			}
		})
	}
}

func TestAHandlerSlowerThanThePollIntervalKeepsItsPartitions(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			b := open(t, brokerURL(t), "max.poll.interval=6s", "group.protocol="+protocol)
			topic := unique(t, "topic")
			var slow atomic.Bool
			s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, MaxBatch: 50},
				func(ctx context.Context, _ bus.Delivery) error {
					if slow.CompareAndSwap(false, true) {
						select {
						case <-time.After(7 * time.Second):
						case <-ctx.Done():
						}
					}
					return ctx.Err()
				})
			publish(t, b, topic, events(1, 100, keys(20)...)...)
			s.waitFor(2000)
			publish(t, b, topic, events(101, 110, keys(20)...)...)
			s.waitFor(2200)
			checkOrder(t, s.got(), 20, 110)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.ready) != 1 {
				t.Errorf("readiness went %v", s.ready)
			}
		})
	}
}
