package bustest

import (
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

var groupTests = []test{
	{"each group gets every event", always, testEachGroup},
	{"members of a group share the work", grouped, testMembersShare},
	{"what a member leaves behind goes to the others", grouped, testMemberLeaves},
	{"events wait for a consumer that is down", durable, testDurable},
}

func durable(h Harness) bool { return h.Guarantees.Durable }

// Two groups are two databases, and each has to have everything.
func testEachGroup(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	c1, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	c2, _ := k.listen(k.open(), bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	es := events(10, keys(20)...)
	k.publish(b, topic, es...)
	c1.await(k, es)
	c2.await(k, es)
}

// Members are replicas over one database: what both are given is done once, but costs twice.
func testMembersShare(k *kit) {
	b, s := k.open(), bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}}
	c1, _ := k.listen(b, s)
	c2, _ := k.listen(k.open(), s)
	// While partitions are on their way to a new member, events may go to both.
	k.eventually("both members have work, and no event goes to both", func() bool {
		es := ids(k.round(b, s.Topics[0]))
		got1, got2 := func() []string { return among(c1, es) }, func() []string { return among(c2, es) }
		k.eventually("one of the members has each event", func() bool {
			return len(without(es, slices.Concat(got1(), got2()))) == 0
		})
		return len(got1()) > 0 && len(got2()) > 0 && len(without(got1(), got2())) == len(got1())
	})
}

// round publishes an event of each of many keys.
func (k *kit) round(b bus.Bus, topic string) []bus.Event {
	k.Helper()
	es := events(1, keys(50)...)
	k.publish(b, topic, es...)
	return es
}

// among returns which of the ids the collector has.
func among(c *collector, want []string) []string {
	return without(want, without(want, ids(c.events())))
}

// A replica that is stopped gives its partitions back, and nothing that it had not done is lost with it.
func testMemberLeaves(k *kit) {
	b, s := k.open(), bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}}
	c1, first := k.listen(b, s)
	c2, _ := k.listen(k.open(), s)
	var es []bus.Event
	k.eventually("both members have work", func() bool {
		es = append(es, k.round(b, s.Topics[0])...)
		return len(c1.events()) > 0 && len(c2.events()) > 0
	})
	first.stop()
	more := events(3, keys(50)...)
	k.publish(b, s.Topics[0], more...)
	es = append(es, more...)
	k.eventually("the one that stays gets all that the other didn't", func() bool {
		return len(without(ids(es), slices.Concat(ids(c1.events()), ids(c2.events())))) == 0
	})
}

// The consumer is away, and its bus is closed, while events are published: that is an upgrade of a service.
func testDurable(k *kit) {
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}}
	first := k.open()
	c, r := k.listen(first, s)
	before := events(2, keys(20)...)
	k.publish(first, s.Topics[0], before...)
	c.await(k, before)
	r.stop()
	while := events(2, keys(20)...)
	k.publish(first, s.Topics[0], while...)
	if err := first.Close(k.ctx); err != nil {
		k.Errorf("Close: %v", err)
	}
	c, _ = k.listen(k.open(), s)
	c.await(k, while, before...)
}
