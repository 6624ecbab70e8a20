package e2e

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
)

// onReplicas runs a test of services that share a Postgres: on each backend's real server, on one after another, for
// these are many processes.
func onReplicas(t *testing.T, test func(t *testing.T, w wire)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			test(t, wire{kind: k, url: k.needReal(t), real: true}.onPostgres(t))
		})
	}
}

// All eight processes start at the same moment on a database that is empty. Both replicas of the owner take writes, both
// of each reader answer with everything, and each event was applied once between them, whether the two share the
// partitions of a log or both hear all that is published.
func TestReplicasShareADatabaseAndTheWork(t *testing.T) {
	onReplicas(t, func(t *testing.T, w wire) {
		s := emptyStack(t, w)
		s.startTwice(t, s.all()...)
		leader := s.leader(t)
		ids := s.create(t, 0, 60)
		s.agree(t)
		for i, id := range ids[:20] {
			s.rename(t, id, fmt.Sprintf("Renamed %d", i))
			s.eitherHas(t, id, 2)
		}
		s.remove(t, ids[20])
		s.agree(t)
		s.mailedOnce(t, 60)
		s.sharePartitions(t)
		if now := s.leader(t); now != leader {
			t.Error("the relay has changed hands, and nobody died")
		}
		s.relayedBy(t, leader)

		// One of each stops as an operator stops it, and comes back: nothing is missed by anybody.
		for _, one := range s.all() {
			one.stop(t)
		}
		s.create(t, 60, 80)
		s.agree(t)
		for _, one := range s.all() {
			one.start(t)
		}
		s.create(t, 80, 100)
		s.agree(t)
		s.mailedOnce(t, 100)
		for _, r := range s.readers() {
			r.hasMissed(t, 0)
		}
	})
}

// eitherHas asks both directories for a version that somebody has just written. One of them at least has not applied it
// itself.
func (s *stack) eitherHas(t *testing.T, id string, version uint64) {
	t.Helper()
	for _, one := range s.directory.both() {
		eventually(t, catchUpTime, func() error { // on a slow machine a service waits less long than it takes
			got, err := call(t, directoryv1.NewDirectoryServiceClient(one.conn).GetPerson,
				&directoryv1.GetPersonRequest{Id: id, MinVersion: version})
			if err == nil && got.GetPerson().GetVersion() != version {
				err = fmt.Errorf("the directory at %s has %v, want version %d", one.listen, got, version)
			}
			return err
		})
	}
}

// relayedBy fails the test if anybody else has ever relayed.
func (s *stack) relayedBy(t *testing.T, leader *service) {
	t.Helper()
	if other := leader.other(); strings.Contains(other.process.out.String(), "outbox: relaying") {
		t.Errorf("the one at %s has relayed too", other.listen)
	}
}

// sharePartitions waits until each replica of each reader has partitions, and none has another's. Where there are no
// partitions, there is nothing to see: that both hear everything is their own affair.
func (s *stack) sharePartitions(t *testing.T) {
	t.Helper()
	if !s.keeps {
		return
	}
	admin := s.kafkaAdmin(t)
	for _, r := range s.readers() {
		group := r.name + "." + r.ask(t, `SELECT id FROM tidings_inbox_database`)
		eventually(t, catchUpTime, func() error { return shared(t.Context(), admin, group, len(r.both())) })
	}
}

// kafkaAdmin may ask the broker anything.
func (w wire) kafkaAdmin(t *testing.T) *kadm.Client {
	t.Helper()
	at, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(at.Host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// shared returns an error unless a group has n members, and its partitions are spread over all of them.
func shared(ctx context.Context, admin *kadm.Client, group string, n int) error {
	described, err := admin.DescribeConsumerGroups(ctx, group)
	if err != nil {
		return err
	}
	g := described[group]
	if g.Err != nil || len(g.Members) != n {
		return fmt.Errorf("group %s has %d members, want %d: %w", group, len(g.Members), n, g.Err)
	}
	taken := 0
	for _, m := range g.Members {
		for _, partitions := range m.Assignment {
			taken += len(partitions)
		}
		if len(m.Assignment) == 0 {
			return fmt.Errorf("a member of group %s has no partitions", group)
		}
	}
	all := 0
	for _, partitions := range g.AssignedPartitions() {
		all += len(partitions)
	}
	if taken != all || all < n {
		return fmt.Errorf("of %d partitions of group %s %d are assigned", all, group, taken)
	}
	return nil
}

// load creates users through whoever answers, a few at a time, until the function that it returns is called, which says
// how many there are then. Each was acknowledged.
func (s *stack) load(t *testing.T) (end func() int) {
	t.Helper()
	s.doubt()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var made atomic.Int64
	all.Go(func() {
		const burst = 4
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for ; ctx.Err() == nil && !t.Failed(); <-pace.C {
			from := int(made.Load())
			s.create(t, from, from+burst)
			made.Add(burst)
		}
	})
	end = func() int {
		cancel()
		all.Wait()
		return int(made.Load())
	}
	t.Cleanup(func() { end() }) // where the test fails before
	return end
}

// overheardOnce fails unless all n events were published, the first time each in the order of its user's versions.
// What is repeated may come at any time, for whoever gets it knows that it has it.
func overheardOnce(t *testing.T, told map[string][]fact, heard []bus.Event) (repeated int) {
	t.Helper()
	next, seen := map[string]uint64{}, map[string]bool{}
	for _, e := range heard {
		if seen[e.ID] {
			repeated++
			continue
		}
		seen[e.ID] = true
		if next[e.Key]++; e.Version != next[e.Key] {
			t.Errorf("user %s: version %d was published first before version %d", e.Key, e.Version, next[e.Key])
		}
	}
	for id, events := range told {
		if next[id] != uint64(len(events)) {
			t.Errorf("user %s: %d events were published, want %d", id, next[id], len(events))
		}
	}
	return repeated
}

// The replica that relays is killed under load, and then the one that took over: what was acknowledged is published, by
// whoever is left.
func TestTheOtherReplicaRelaysWhenTheLeaderIsKilled(t *testing.T) {
	onReplicas(t, func(t *testing.T, w wire) {
		s := emptyStack(t, w)
		s.startTwice(t, s.users)
		heard := s.overhear(t, w.open(t))
		end := s.load(t)
		for range 2 {
			s.takeMore(t)
			leader := s.leader(t)
			leader.kill()
			leader.other().leads(t)
			leader.start(t)
		}
		s.takeMore(t)
		s.allOnce(t, end(), heard)
	})
}

// The replica that relays is stopped in the middle of it, for longer than its lease lasts, and goes on as if nothing had
// been, while another one relays: it can only repeat what it had in hand.
func TestALeaderThatStallsMayOnlyRepeat(t *testing.T) {
	onReplicas(t, func(t *testing.T, w wire) {
		s := emptyStack(t, w)
		s.startTwice(t, s.users)
		heard := s.overhear(t, w.open(t))
		end := s.load(t)
		s.takeMore(t)
		leader := s.leader(t)
		leader.hold(t)
		leader.other().leads(t)
		n := end()
		ids := s.known()
		for i, id := range ids[len(ids)-20:] { // of users whose first event the one that stalls may have in hand
			s.rename(t, id, fmt.Sprintf("Renamed %d", i))
		}
		s.published(t)
		leader.release(t)
		leader.process.await(t, "another relay has taken over")
		if s.leader(t) == leader {
			t.Error("it relays again, and the other one has not let go")
		}
		s.create(t, n, n+30) // through both
		s.allOnce(t, n+30, heard)
	})
}

// allOnce fails the test unless all services have what was written, n users, each event once, and nothing was missed.
func (s *stack) allOnce(t *testing.T, n int, heard func(n int) []bus.Event) {
	t.Helper()
	s.published(t)
	s.agree(t)
	s.mailedOnce(t, n)
	for _, r := range s.readers() {
		r.hasMissed(t, 0)
	}
	t.Logf("%d users were created, and %d events repeated", n, overheardOnce(t, s.ledger.all(), heard(s.ledger.len())))
}

// known are the ids of all users, those created last at the end.
func (s *stack) known() (ids []string) {
	all := s.ledger.all()
	for id := range all {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return all[a][0].index - all[b][0].index })
	return ids
}

// One replica of each reader is killed under load, and then the other one: what it had in hand is taken up by the one
// that is left, and everything is applied once. A mail that was being sent then is sent by the other, under the same id.
func TestWhatAKilledReplicaHadInHandIsDoneByTheOther(t *testing.T) {
	onReplicas(t, func(t *testing.T, w wire) {
		s := emptyStack(t, w)
		s.startTwice(t, s.readers()...)
		end := s.load(t)
		s.takeMore(t)
		for _, r := range s.readers() {
			r.kill()
		}
		s.takeMore(t)
		for _, r := range s.readers() {
			r.start(t)
		}
		s.takeMore(t) // on a bus that keeps nothing, what was published before they listened is in the others' hands alone
		for _, r := range s.readers() {
			r.other().kill()
		}
		s.takeMore(t)
		n := end()
		s.agree(t)
		for _, r := range s.readers() {
			r.other().start(t)
			r.hasMissed(t, 0)
		}
		s.create(t, n, n+20)
		s.agree(t)
		eventually(t, catchUpTime+leaseTime, func() error {
			if box := s.mailbox(t); len(box) != n+20 {
				return fmt.Errorf("the mailbox holds %d mails, want %d", len(box), n+20)
			}
			return nil
		})
	})
}

// takeMore waits until every reader has applied more than what was published before.
func (s *stack) takeMore(t *testing.T) {
	t.Helper()
	before := s.outbox(t).Sent
	for _, r := range s.readers() {
		eventually(t, catchUpTime, func() error {
			if have := r.inbox(t).Versions; have <= uint64(before) {
				return fmt.Errorf("%s has applied %d events, and %d were published before", r.name, have, before)
			}
			return nil
		})
	}
}
