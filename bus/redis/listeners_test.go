package redis_test

import (
	"context"
	"errors"
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
