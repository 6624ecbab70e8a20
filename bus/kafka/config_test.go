package kafka

import "testing"

// A broker takes any sequence number from a producer that it has never heard of. So of two requests on their way to a
// new partition the second can be stored where the first was refused, and librdkafka takes both for acknowledged: seen
// on a real broker as 89,998 stored of 90,000 acknowledged. The embedded broker checks sequence numbers more strictly,
// so that it can't be shown there.
func TestOneRequestIsOnItsWayAtATime(t *testing.T) {
	for _, acks := range []string{"all", "1", "0"} {
		m := settings{acks: acks}.producer(nil)
		if got, err := m.Get("max.in.flight.requests.per.connection", nil); err != nil || got != 1 {
			t.Errorf("acks=%s: max.in.flight.requests.per.connection is %v, %v; want 1", acks, got, err)
		}
	}
}
