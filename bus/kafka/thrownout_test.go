package kafka_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAMemberThatIsGivenNothingBackIsReplacedOnce(t *testing.T) {
	t.Parallel()
	const within = 5 * time.Second
	url := brokerURL(t)
	topic, g := unique(t, "topic"), &group{t: t, name: unique(t, "group"), cl: client(t, url)}
	db := newDatabase()
	sub := bus.Subscription{Group: g.name, Topics: []string{topic}, Resume: db.resume}
	params := "?partitions=1&group.protocol=consumer&client.id="
	b, told := openWithin(t, within, url+params+"first")
	first := subscribe(t, b, sub, db.handle)
	eventually(t, "the first member to have the partition", func() bool { return g.owner() == "first" })
	publish(t, b, topic, events(1, 10, "a")...)
	eventually(t, "the first events", func() bool { return db.count() == 10 })
	old := g.member("first")
	second := subscribe(t, open(t, url+params+"second"), sub, db.handle)
	eventually(t, "the second member to be in", func() bool { return g.member("second") != "" })

	eventually(t, "the partition to be the second member's", func() bool {
		if g.owner() != "second" && g.member("first") == old { // it is back before the other one was given anything
			g.expel(old)
		}
		return g.owner() == "second"
	})
	eventually(t, "a new member in the first one's place", func() bool {
		now := g.member("first")
		return now != "" && now != old && first.isReady()
	})
	replaced, since := g.member("first"), time.Now()
	eventually(t, "time to pass", func() bool { return told() != 1 || time.Since(since) > within+time.Second })
	if told() != 1 || g.member("first") != replaced {
		t.Errorf("it was told %d times, and %s became %s", told(), replaced, g.member("first"))
	}
	if n := len(g.members()); n != 2 {
		t.Errorf("the group has %d members", n)
	}

	publish(t, b, topic, events(11, 20, "a")...)
	eventually(t, "the second member's events", func() bool { return db.count() == 20 })
	if err := second.stop(); err != nil {
		t.Error(err)
	}
	publish(t, b, topic, events(21, 30, "a")...)
	eventually(t, "the new member's events", func() bool { return db.count() == 30 })
	db.check(t, 30)
	if err := first.stop(); err != nil {
		t.Error(err)
	}
}

func TestAMemberThatIsGivenItsPartitionsBackStays(t *testing.T) {
	t.Parallel()
	const within = 5 * time.Second
	url := brokerURL(t)
	topic, g := unique(t, "topic"), &group{t: t, name: unique(t, "group"), cl: client(t, url)}
	b, told := openWithin(t, within, url+"?partitions=2&group.protocol=consumer&client.id=only")
	s := subscribe(t, b, bus.Subscription{Group: g.name, Topics: []string{topic}}, nil)
	eventually(t, "the member to have the partitions", func() bool { return g.owner() == "only" && s.isReady() })
	old, since := g.member("only"), time.Now()
	g.expel(old)
	eventually(t, "the member to be out", func() bool { return !s.isReady() })
	eventually(t, "the member to be back", func() bool { return g.owner() == "only" && s.isReady() })
	publish(t, b, topic, events(1, 10, keys(10)...)...)
	s.waitFor(100)
	eventually(t, "time to pass", func() bool { return told() > 0 || time.Since(since) > within+3*time.Second })
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.ready); told() > 0 || n != 3 || g.member("only") != old {
		t.Errorf("it was told %d times, readiness went %v, and %s became %s", told(), s.ready, old, g.member("only"))
	}
}

// To read on makes librdkafka forget that it has lost its partitions, so the poller has to look before it does so.
func TestAMemberThatIsThrownOutBeforeItReadsKnowsSo(t *testing.T) {
	t.Parallel()
	k := startBroker(t, t.TempDir(), "127.0.0.1:0")
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := subscribe(t, open(t, k.URL(), "group.protocol=consumer"), bus.Subscription{
		Group: unique(t, "group"), Topics: []string{unique(t, "topic")},
		OnReady: func(bool) { // holds up the poller
			once.Do(func() {
				close(entered)
				<-leave
			})
		},
	}, nil)
	<-entered
	out := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Err: kerr.FencedMemberEpoch, TopLevel: true})
	defer out.Remove()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := out.Wait(ctx, 1); err != nil {
		t.Error(err)
	}
	time.AfterFunc(500*time.Millisecond, func() { close(leave) }) // by then it has heard of that, and where to read on
	eventually(t, "the member to be out, and in again", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Equal(s.ready, []bool{true, false, true})
	})
}

// openWithin opens a bus whose members have to be back within d, and returns how often it was told of one that was not.
func openWithin(t *testing.T, d time.Duration, url string) (b bus.Bus, told func() int) {
	t.Helper()
	var log lines
	b, err := bus.Open(t.Context(), url, kafka.Backend(kafka.BackWithin(d)), bus.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeBus(t, b)
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return b, func() int { return strings.Count(log.String(), "was thrown out, and given no partition since") }
}

// group looks at a consumer group of the newer protocol, whose members are told apart by client.id.
type group struct {
	t    *testing.T
	name string
	cl   *kgo.Client
}

// members lists who is in the group by now.
func (g *group) members() []kadm.ConsumerGroupMember {
	g.t.Helper()
	var all kadm.DescribedConsumerGroups
	eventually(g.t, "the group's coordinator", func() bool {
		var err error
		all, err = kadm.NewClient(g.cl).DescribeConsumerGroups(g.t.Context(), g.name)
		return err == nil
	})
	return all[g.name].Members
}

// member is the id of a client's member, "" when it has none.
func (g *group) member(client string) string {
	g.t.Helper()
	for _, m := range g.members() {
		if m.ClientID == client {
			return m.MemberID
		}
	}
	return ""
}

// owner is the client whose member has partitions, "" when nobody has any.
func (g *group) owner() string {
	g.t.Helper()
	for _, m := range g.members() {
		if len(m.Assignment) > 0 {
			return m.ClientID
		}
	}
	return ""
}

// expel tells the group that a member has left it. The member doesn't know, so its next heartbeat is refused.
func (g *group) expel(member string) {
	g.t.Helper()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = g.name, member, -1
	resp, err := req.RequestWith(g.t.Context(), g.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}
