package redis_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/redis"
)

// asked is how often the server was asked who listens; the name of the command depends on its version.
func (s *server) asked() int { return s.calls("pubsub") + s.calls("pubsub|numsub") }

// inBackground publishes, and says when it is done.
func inBackground(t *testing.T, b bus.Bus, topic string, es ...bus.Event) (done chan error) {
	done = make(chan error, 1)
	go func() { done <- try(t, b, topic, es...) }()
	return done
}

// The server is back, the relay is, and the subscriber's connection takes its time. Nothing needs to be lost by that.
func TestAfterAnOutagePublishingWaitsForThoseWhoListenedBefore(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	via := startProxy(t, srv.addr)
	pub := open(t, srv.url())
	s := subscribe(t, open(t, via.url()), bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, pub, "topic", numbered(1, 1)...)
	for round := range 2 {
		s.waitFor(1 + 100*round) // what is on its way when the server dies is lost
		srv.kill()
		eventually(t, "the loss to be told", func() bool { return !s.isReady() })
		via.stall()
		srv.start()
		es := numbered(2+100*round, 101+100*round)
		done := inBackground(t, pub, "topic", es...)
		eventually(t, "the server to be asked who listens", func() bool {
			select {
			case err := <-done:
				t.Fatalf("Publish returned %v, and %d heard it", err, es[0].Heard)
			default:
			}
			return srv.asked() >= 3
		})
		via.resume()
		if err := <-done; err != nil || es[0].Heard != 1 {
			t.Fatalf("Publish returned %v, and %d heard it", err, es[0].Heard)
		}
	}
	s.finish(pub, "topic", 202)
	if l := s.losses(201); l.total != 0 {
		t.Errorf("missing: %v", l.runs)
	}
}

// It answers who listens, and dies before it has taken anything: that is another outage, with a time of its own.
func TestAServerThatDiesAgainIsWaitedForAnew(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	via := startProxy(t, srv.addr)
	pub := open(t, srv.url())
	s := subscribe(t, open(t, via.url()), bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, pub, "topic", numbered(1, 1)...)
	s.waitFor(1)
	srv.kill()
	eventually(t, "the loss to be told", func() bool { return !s.isReady() })
	via.stall()
	srv.start()
	es := numbered(2, 101)
	done := inBackground(t, pub, "topic", es...)
	eventually(t, "the server to be asked who listens", func() bool { return srv.asked() >= 1 })
	asked := time.Now()
	srv.kill()
	eventually(t, "the first outage to be over", func() bool { return time.Since(asked) > redis.ListenersWait+500*time.Millisecond })
	srv.start()
	eventually(t, "the server to be asked again", func() bool { return len(done) > 0 || srv.asked() >= 3 })
	via.resume()
	if err := <-done; err != nil || es[0].Heard != 1 {
		t.Fatalf("Publish returned %v, and %d heard it", err, es[0].Heard)
	}
	s.finish(pub, "topic", 102)
	if l := s.losses(101); l.total != 0 {
		t.Errorf("missing: %v", l.runs)
	}
}

// The server lives, and the network doesn't.
func TestAServerThatCannotBeReachedIsAnOutage(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	way, via := startProxy(t, srv.addr), startProxy(t, srv.addr)
	pub := open(t, way.url())
	s := subscribe(t, open(t, via.url()), bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, pub, "topic", event("a", 1))
	way.close()
	via.stall()
	srv.do("CLIENT", "KILL", "TYPE", "pubsub")
	es := []bus.Event{event("a", 2)}
	eventually(t, "the way to be closed", func() bool { // the first failure is that of the link
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := pub.Publish(ctx, "topic", es...)
		return err != nil && strings.Contains(err.Error(), "connection refused")
	})
	l, err := net.Listen("tcp", way.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	proxyOn(t, l, srv.addr)
	done := inBackground(t, pub, "topic", es...)
	eventually(t, "the server to be asked who listens", func() bool { return len(done) > 0 || srv.asked() >= 3 })
	via.resume()
	if err := <-done; err != nil || es[0].Heard != 1 {
		t.Fatalf("Publish returned %v, and %d heard it", err, es[0].Heard)
	}
}

// The publisher's own link was cut, and nobody else's. Who is not there has left, and nobody waits for who has left.
func TestALinkThatEndsAloneIsNoOutage(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, srv *server, via *proxy, b bus.Bus){
		"the server ended it": func(_ *testing.T, srv *server, _ *proxy, _ bus.Bus) {
			srv.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		},
		"the caller gave up": func(t *testing.T, _ *server, via *proxy, b bus.Bus) {
			via.stall()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := b.Publish(ctx, "topic", event("b", 1)); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Publish returned %v", err)
			}
			via.resume()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startServer(t)
			via := startProxy(t, srv.addr)
			pub := open(t, via.url())
			stays := subscribe(t, open(t, srv.url()), bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
			leaves := subscribe(t, open(t, srv.url()), bus.Subscription{Group: "h", Topics: []string{"topic"}}, nil)
			eventually(t, "the subscriptions", func() bool { return stays.isReady() && leaves.isReady() })
			publish(t, pub, "topic", event("a", 1))
			if err := leaves.stop(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the end of the subscription at the server", func() bool {
				return srv.do("PUBSUB", "NUMSUB", "topic").([]any)[1] == int64(1)
			})
			asked := srv.asked()
			end(t, srv, via, pub)
			last := event("a", 2)
			es := []bus.Event{last}
			publish(t, pub, "topic", es...)
			if n := srv.asked() - asked; n != 0 || es[0].Heard != 1 {
				t.Errorf("it was asked %d times who listens; %d heard it", n, es[0].Heard)
			}
		})
	}
}

func TestATopicThatNobodyListenedToIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	b := open(t, srv.url())
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"left", "topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	for _, topic := range []string{"left", "topic", "nobody's"} {
		publish(t, b, topic, event("a", 1))
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the subscription at the server", func() bool {
		return srv.do("PUBSUB", "NUMSUB", "left").([]any)[1] == int64(0)
	})
	publish(t, b, "left", event("a", 2)) // nobody was there any more before the outage
	srv.kill()
	srv.start()
	for _, topic := range []string{"left", "nobody's", "a new one"} {
		publish(t, b, topic, event("a", 3))
	}
	if n := srv.asked(); n != 0 {
		t.Errorf("it was asked %d times who listens", n)
	}
}

// A service that was stopped during the outage must not hold up the others for ever, and calls that give up before the
// time is over must not have the next one begin anew.
func TestThoseWhoDoNotComeBackAreWaitedForOnce(t *testing.T) {
	t.Parallel()
	srv, log := startServer(t), &capture{}
	b, err := bus.Open(t.Context(), srv.url(), redis.Backend(), bus.WithLogger(log.logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	s := subscribe(t, open(t, srv.url()), bus.Subscription{Group: "g", Topics: []string{"one", "two"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "one", event("a", 1))
	publish(t, b, "two", event("a", 1))
	srv.kill()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	srv.start()
	tries, start := 0, time.Now()
	eventually(t, "the event to be published", func() bool {
		tries++
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		err := b.Publish(ctx, "one", event("a", 2))
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	})
	if tries < 2 || !strings.Contains(log.String(), "not all who listened") || !strings.Contains(log.String(), "before=1 now=0") {
		t.Errorf("published at try %d, after %v; the log: %s", tries, time.Since(start), log)
	}
	asked := srv.asked()
	publish(t, b, "two", event("a", 2)) // its listeners have had the same time
	publish(t, b, "one", event("a", 3))
	if n := srv.asked(); n != asked+1 {
		t.Errorf("it was asked %d times more who listens, want once for the other topic", n-asked)
	}
}

// To ask is a right of its own, and not worth being stopped by.
func TestAUserWhoMayNotAskDoesNotWait(t *testing.T) {
	srv, log := startServer(t), &capture{}
	srv.do("ACL", "SETUSER", "few", "on", ">secret", "resetchannels", "&topic", "-@all", "+publish", "+client|setname")
	t.Setenv(redis.PasswordEnv, "secret")
	b, err := bus.Open(t.Context(), "redis://few@"+srv.addr, redis.Backend(), bus.WithLogger(log.logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	t.Setenv(redis.PasswordEnv, "")
	s := subscribe(t, open(t, srv.url()), bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "topic", event("a", 1))
	srv.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	publish(t, b, "topic", event("a", 2))
	s.waitFor(2)
	if !strings.Contains(log.String(), "can't ask who listens") {
		t.Errorf("the log: %s", log)
	}
}

// The first thing that is asked of a new link is who listens; the answer may be that nobody is let in.
func TestAPasswordThatWasChangedMeanwhileFailsAtOnce(t *testing.T) {
	srv := startServer(t, "--requirepass", "old")
	t.Setenv(redis.PasswordEnv, "old")
	log := &capture{}
	b, err := bus.Open(t.Context(), srv.url(), redis.Backend(), bus.WithLogger(log.logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "topic", event("a", 1))
	admin := goredis.NewClient(&goredis.Options{Addr: srv.addr, Password: "old", MaxRetries: -1, Protocol: 2, PoolSize: 1})
	defer admin.Close()
	for _, command := range [][]any{
		{"CONFIG", "SET", "requirepass", "new"}, {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"},
	} {
		if err := admin.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	err = try(t, b, "topic", event("a", 2))
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("Publish returned %v", err)
	}
	if strings.Contains(log.String(), "can't ask") {
		t.Errorf("it didn't wait for whoever listens once it is let in: %s", log)
	}
}
