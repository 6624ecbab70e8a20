package redis_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/redis"
)

func TestASubscriptionWaitsForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	b := open(t, "redis://"+addr)
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	other := subscribe(t, b, bus.Subscription{Group: "other", Topics: []string{"topic"}}, nil)
	if err := other.stop(); err != nil {
		t.Errorf("ended while waiting: %v", err)
	}
	startEmbedded(t, addr)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "topic", event("a", 1))
	s.waitFor(1)
	if len(s.gaps) != 0 {
		t.Errorf("the first connection is told as a loss: %+v", s.gaps)
	}
	s.checkTurns(0)
}

func TestWhatIsRequiredAndLackingIsRefused(t *testing.T) {
	t.Parallel()
	b := open(t, "redis://127.0.0.1:1")
	for _, g := range []bus.Guarantees{{Durable: true}, {Replayable: true}, {Groups: true}} {
		err := b.Subscribe(t.Context(), bus.Subscription{Group: "g", Topics: []string{"topic"}, Require: g}, nil)
		var refused *bus.GuaranteeError
		if !errors.As(err, &refused) || refused.Missing != g {
			t.Errorf("%v: got %v", g, err)
		}
	}
	if g := b.Guarantees(); g != (bus.Guarantees{OrderedByKey: true}) {
		t.Errorf("it promises %v", g)
	}
}

// One loss is a loss of every topic of the subscription.
func TestALossIsToldOfEachTopic(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	s := subscribe(t, open(t, srv.url()), bus.Subscription{Group: "g", Topics: []string{"one", "two", "one"}}, nil)
	eventually(t, "the subscription", s.isReady)
	srv.do("CLIENT", "KILL", "TYPE", "pubsub")
	eventually(t, "the loss to be told", func() bool { lost, _ := s.allGaps(); return lost >= 2 })
	eventually(t, "the subscription", s.isReady)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if len(s.gaps) != 2 || s.gaps[0].At.Topic != "one" || s.gaps[1].At.Topic != "two" {
		t.Errorf("gaps: %+v", s.gaps)
	}
}

// OnGap and OnReady may take their time: reading goes on, and so does handling.
func TestASlowOnGapHoldsUpNothing(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	b, goOn := open(t, srv.url()), make(chan struct{})
	stuck := make(chan struct{}, 1)
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}, OnGap: func(context.Context, bus.Gap) {
		stuck <- struct{}{}
		<-goOn
	}}, nil)
	eventually(t, "the subscription", s.isReady)
	srv.do("CLIENT", "KILL", "TYPE", "pubsub")
	<-stuck
	eventually(t, "the subscription at the server", func() bool {
		return srv.do("PUBSUB", "NUMSUB", "topic").([]any)[1] == int64(1)
	})
	publish(t, b, "topic", numbered(1, 100)...)
	s.waitFor(100)
	close(goOn)
	eventually(t, "the recovery to be told", s.isReady)
}

func TestHeartbeatsAreNeitherEventsNorMissedByAnybody(t *testing.T) {
	t.Parallel()
	url := serverURL(t)
	b, topic := open(t, url), unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	var beats []bus.Event
	for i := range 100 {
		beat, err := bus.Heartbeat{Topic: topic, Source: "/test", SeqLog: "log", Seq: uint64(i)}.Event()
		if err != nil {
			t.Fatal(err)
		}
		beats = append(beats, beat)
	}
	publish(t, b, topic, beats...)
	s.finish(b, topic, 1)
	if s.count() != 1 || len(s.heartbeats) == 0 || len(s.heartbeats) > 2*s.deliveries {
		t.Errorf("%d events and %d heartbeats in %d deliveries", s.count(), len(s.heartbeats), s.deliveries)
	}
	if first := s.heartbeats[0]; first.Seq != 0 {
		t.Errorf("the oldest is %+v", first)
	}
	if last := s.heartbeats[len(s.heartbeats)-1]; last != (bus.Heartbeat{Topic: topic, Source: "/test", SeqLog: "log", Seq: 99}) {
		t.Errorf("the newest is %+v", last)
	}
}

func TestWhatIsNoEventIsDeliveredAsItCame(t *testing.T) {
	t.Parallel()
	url := serverURL(t)
	b, topic := open(t, url), unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	rawPublish(t, rawClient(t, url), topic, [][]byte{[]byte("hello"), {}, []byte(bus.TypeHeartbeat)})
	s.finish(b, topic, 1)
	got := s.got()
	for i, want := range []string{"hello", "", bus.TypeHeartbeat} {
		e := got[i]
		if !errors.Is(e.Err, bus.ErrNotEvent) || string(e.Data) != want || e.At != (bus.Position{Topic: topic, Offset: -1}) || e.Key != "" {
			t.Errorf("%q came as %+v", want, e)
		}
	}
}

// A right that is missing is waited for like a server, for it comes by somebody's doing while services run.
func TestASubscriptionThatIsNotAllowedWaitsAndSaysSo(t *testing.T) {
	srv := startServer(t)
	srv.do("ACL", "SETUSER", "reader", "on", ">secret", "resetchannels", "+@all")
	t.Setenv(redis.PasswordEnv, "secret")
	log := &capture{}
	b, err := bus.Open(t.Context(), "redis://reader@"+srv.addr, redis.Backend(), bus.WithLogger(log.logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the refusal to be logged", func() bool { return strings.Contains(log.String(), "NOPERM") })
	if !strings.Contains(log.String(), "ACL SETUSER reader &topic +publish +subscribe") {
		t.Errorf("the mend is not in: %s", log)
	}
	if s.isReady() || len(s.gaps) > 0 {
		t.Errorf("ready: %v, gaps %+v", s.isReady(), s.gaps)
	}
	srv.do("ACL", "SETUSER", "reader", "&topic")
	eventually(t, "the subscription", s.isReady)
	if n := strings.Count(log.String(), "waits for the server"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}

// The rights that the documentation names are enough.
func TestFewRightsAreEnough(t *testing.T) {
	srv := startServer(t)
	srv.do("ACL", "SETUSER", "few", "on", ">secret", "resetchannels", "&topic", "-@all", "+publish", "+subscribe", "+ping", "+client|setname", "+pubsub|numsub")
	t.Setenv(redis.PasswordEnv, "secret")
	b := open(t, "redis://few@"+srv.addr, "ping.interval=200ms")
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "topic", event("a", 1))
	s.waitFor(1)
	eventually(t, "a ping", func() bool { return srv.calls("ping") > 2 }) // one was to see that the server answers
	if len(s.gaps) != 0 {
		t.Errorf("gaps: %+v", s.gaps)
	}
	names, _ := srv.do("CLIENT", "LIST").(string)
	if strings.Count(names, "name=tidings") != 2 {
		t.Errorf("clients:\n%s", names)
	}
}

func TestAPermanentErrorEndsTheSubscription(t *testing.T) {
	t.Parallel()
	url := serverURL(t)
	b, topic := open(t, url), unique(t, "topic")
	fault := errors.New("this never works")
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{topic}}, func(context.Context, bus.Delivery) error {
		return bus.Permanent(fault)
	})
	eventually(t, "the subscription", s.isReady)
	publish(t, b, topic, numbered(1, 10)...)
	if err := s.wait(); !errors.Is(err, fault) {
		t.Errorf("Subscribe returned %v", err)
	}
	if s.isReady() {
		t.Error("it is ready")
	}
}

func TestAClosedBusRefusesAndEndsItsSubscriptions(t *testing.T) {
	t.Parallel()
	b, topic := open(t, serverURL(t)), unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
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
}

func TestClosingEndsAPublishThatWaits(t *testing.T) {
	t.Parallel()
	b := open(t, "redis://"+freeAddr(t))
	waiting := make(chan error, 1)
	go func() { waiting <- b.Publish(t.Context(), "topic", event("a", 1)) }()
	select {
	case err := <-waiting:
		t.Fatalf("Publish returned %v", err)
	case <-time.After(50 * time.Millisecond): // it is under way by now; if not, it is refused
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); err == nil {
		t.Error("Close didn't tell that a call was in flight")
	}
	if err := <-waiting; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Publish returned %v", err)
	}
}

// An idle connection that the server has closed is replaced without a word, and without a loss.
func TestPublishOverAConnectionThatWasClosedWhileIdle(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	b := open(t, srv.url())
	s := subscribe(t, open(t, srv.url()), bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "topic", numbered(1, 1)...)
	srv.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	publish(t, b, "topic", numbered(2, 2)...)
	s.waitFor(2)
	if l := s.losses(2); l.total != 0 || s.count() != 2 {
		t.Errorf("%d came, missing: %v", s.count(), l.runs)
	}
}

// A handler that keeps data keeps it unchanged: no later message is read into the same memory.
func TestDataMayBeKept(t *testing.T) {
	t.Parallel()
	url := serverURL(t)
	b, topic := open(t, url), unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	es := numbered(1, 2000)
	publish(t, b, topic, es...)
	s.waitFor(len(es))
	for i, e := range s.got() {
		if string(e.Data) != string(es[i].Data) {
			t.Fatalf("event %d has the data %q, want %q", i, e.Data, es[i].Data)
		}
	}
}
