package kafka_test

import (
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

func TestHeartbeatsInALogReachNoHandler(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t), "partitions=1")
	topic := unique(t, "topic")
	beat, err := bus.Heartbeat{Topic: topic, Source: "/test", SeqLog: "log", Seq: 7}.Event()
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, topic, beat, event("a", 1), beat, beat, event("a", 2), beat)
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	eventually(t, "all offsets to be read", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		n := len(s.deliveries)
		return n > 0 && len(s.deliveries[n-1].Ranges) == 1 && s.deliveries[n-1].Ranges[0].Next >= 6
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for i, e := range s.got() {
		if want := []int64{1, 4}; i >= len(want) || e.Type == bus.TypeHeartbeat || e.At.Offset != want[i] {
			t.Errorf("event %d is a %s of offset %d", i, e.Type, e.At.Offset)
		}
	}
	if n := s.count(); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	next := int64(0)
	for _, d := range s.deliveries {
		if d.Ranges[0].Offset != next {
			t.Errorf("a delivery begins at %d, behind %d", d.Ranges[0].Offset, next)
		}
		next = d.Ranges[0].Next
	}
}
