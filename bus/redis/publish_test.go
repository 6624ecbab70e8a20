package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/redis"
)

// try publishes what may fail.
func try(t *testing.T, b bus.Bus, topic string, es ...bus.Event) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return b.Publish(ctx, topic, es...)
}

func TestPublishSaysHowManyHeard(t *testing.T) {
	t.Parallel()
	url := serverURL(t)
	b, topic := open(t, url), unique(t, "topic")
	es := numbered(1, 10)
	for listeners := range 3 {
		publish(t, b, topic, es...)
		for i, e := range es {
			if e.Heard != listeners || e.At != (bus.Position{Topic: topic, Offset: -1}) {
				t.Errorf("event %d of %d listeners: heard by %d, at %+v", i, listeners, e.Heard, e.At)
			}
		}
		s := subscribe(t, open(t, url), bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
		eventually(t, "the subscription", s.isReady)
	}
}

// More than one pipeline holds, in number and in bytes, and events of all sizes.
func TestPublishOfManyEventsInOneCall(t *testing.T) {
	t.Parallel()
	url := serverURL(t)
	b, topic := open(t, url), unique(t, "topic")
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	es := numbered(1, 5000)
	for i := 0; i < len(es); i += 500 {
		es[i].Data = make([]byte, bus.MaxEventBytes-5000)
	}
	publish(t, b, topic, es...)
	s.waitFor(len(es))
	for i, e := range s.got() {
		if int(e.Seq) != i+1 || len(e.Data) != len(es[i].Data) {
			t.Fatalf("event %d of %d bytes came as number %d", e.Seq, len(e.Data), i+1)
		}
	}
	if es[len(es)-1].Heard != 1 {
		t.Errorf("the last was heard by %d", es[len(es)-1].Heard)
	}
}

func TestPublishWaitsForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	b := open(t, "redis://"+addr)
	es := numbered(1, 10)
	done := make(chan error, 1)
	go func() { done <- try(t, b, "topic", es...) }()
	select {
	case err := <-done:
		t.Fatalf("Publish returned %v", err)
	case <-time.After(100 * time.Millisecond): // that it waits can only be seen for a while
	}
	startEmbedded(t, addr)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPublishEndsWithItsDeadlineAndSaysWhatWasInTheWay(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	stalled := startProxy(t, strings.TrimSuffix(strings.TrimPrefix(startEmbedded(t, "127.0.0.1:0").URL(), "redis://"), "/0"))
	stalled.stall()
	for name, c := range map[string]struct{ url, want string }{
		"nobody there": {"redis://" + addr, "connection refused"},
		"no answer":    {stalled.url() + "?answer.timeout=50ms", "i/o timeout"},
		"no deadline":  {stalled.url(), "context deadline exceeded"}, // of its own, before the context's
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			es := numbered(1, 10)
			start := time.Now()
			err := open(t, c.url).Publish(ctx, "topic", es...)
			var failed *bus.PublishError
			if !errors.As(err, &failed) || len(failed.Failed) != 10 || failed.Topic != "topic" || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Publish returned %v", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q is not in: %v", c.want, err)
			}
			if es[0].At != (bus.Position{}) || time.Since(start) > 5*time.Second {
				t.Errorf("after %v event 0 is at %+v", time.Since(start), es[0].At)
			}
		})
	}
}

func TestACallThatWaitsDoesNotHoldUpTheDeadlineOfAnother(t *testing.T) {
	t.Parallel()
	via := startProxy(t, strings.TrimSuffix(strings.TrimPrefix(startEmbedded(t, "127.0.0.1:0").URL(), "redis://"), "/0"))
	via.stall()
	b := open(t, via.url())
	waiting := make(chan error, 1)
	go func() { waiting <- try(t, b, "topic", numbered(1, 10)...) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, "topic", numbered(1, 1)...); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish returned %v", err)
	}
	via.resume()
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

// The connection breaks while answers are read. What was answered is not sent again, all else is, in order.
func TestPublishGoesOnFromTheFirstEventThatWasNotAnswered(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	via := startProxy(t, srv.addr)
	pub, topic := open(t, via.url()), unique(t, "topic")
	s := subscribe(t, open(t, srv.url()), bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, pub, topic, event("first", 0)) // the handshake is over
	s.waitFor(1)
	for _, answered := range []int{0, 1, 137, 999, 1000} {
		t.Run(fmt.Sprint(answered), func(t *testing.T) {
			before := s.count()
			via.answer.Store(int64(answered * len(":1\r\n")))
			es := numbered(1, 1000)
			publish(t, pub, topic, es...)
			via.answer.Store(-1)
			last := event("last", answered)
			publish(t, pub, topic, last)
			eventually(t, "the last event", func() bool { got := s.got(); return got[len(got)-1].ID == last.ID })
			times := make(map[uint64]int)
			got := s.got()[before:]
			for _, e := range got[:len(got)-1] {
				times[e.Seq]++
			}
			if len(times) != 1000 {
				t.Errorf("%d different events came", len(times))
			}
			for i, e := range es {
				if n := times[e.Seq]; n < 1 || i < answered && n != 1 || n > 2 || e.Heard != 1 {
					t.Fatalf("event %d of %d answered came %d times, heard by %d", i, answered, n, e.Heard)
				}
			}
			if l := s.losses(1000); !l.inTurn {
				t.Error("a key's events came out of order")
			}
		})
	}
}

func TestPublishThroughARestartOfTheServer(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	b, topic := open(t, srv.url()), unique(t, "topic")
	l := startLoad(t, b, topic) // fails where a call fails
	for range 2 {
		l.more(100)
		srv.kill()
		srv.start()
	}
	l.more(100)
	l.stop()
}

func TestAnErrorReplyFailsItsEventsAtOnce(t *testing.T) {
	srv := startServer(t)
	srv.do("ACL", "SETUSER", "relay", "on", ">secret", "resetchannels", "&allowed", "+@all")
	t.Setenv(redis.PasswordEnv, "secret")
	b := open(t, "redis://relay@"+srv.addr)
	publish(t, b, "allowed", numbered(1, 3)...)
	err := try(t, b, "forbidden", numbered(1, 25)...)
	var failed *bus.PublishError
	var reply goredis.Error
	if !errors.As(err, &failed) || len(failed.Failed) != 25 || !errors.As(err, &reply) || !strings.HasPrefix(reply.Error(), "NOPERM") {
		t.Errorf("Publish returned %v", err)
	}
	if !strings.Contains(err.Error(), `"relay"`) || !strings.Contains(err.Error(), "ACL SETUSER relay &forbidden +publish ") {
		t.Errorf("the mend is not in: %v", err)
	}
	publish(t, b, "allowed", numbered(1, 3)...)
	srv.do("ACL", "SETUSER", "relay", "&forbidden")
	publish(t, b, "forbidden", numbered(1, 25)...)
}

// One event of a call is refused. Its key's later ones count as failed, and other keys' don't.
func TestAnErrorReplyFailsTheKeysLaterEvents(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	refuseNth(t, srv.addr, 5) // the sixth PUBLISH
	b := open(t, srv.url())
	es := numbered(1, 2500) // of ten keys, in three pipelines
	err := try(t, b, "topic", es...)
	var failed *bus.PublishError
	if !errors.As(err, &failed) {
		t.Fatalf("Publish returned %v", err)
	}
	for i, e := range es {
		_, isFailed := failed.Failed[i]
		if want := e.Key == es[5].Key; isFailed != want || (e.At.Topic == "") != want {
			t.Fatalf("event %d of %s failed: %v, at %+v", i, e.Key, isFailed, e.At)
		}
	}
}

func TestAServerThatLetsNobodyInIsNotWaitedFor(t *testing.T) {
	srv := startServer(t, "--requirepass", "secret")
	t.Setenv(redis.PasswordEnv, "wrong")
	err := try(t, open(t, srv.url()), "topic", numbered(1, 3)...)
	var failed *bus.PublishError
	if !errors.As(err, &failed) || len(failed.Failed) != 3 || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("Publish returned %v", err)
	}
	wantMend(t, err)
	t.Setenv(redis.PasswordEnv, "")
	err = try(t, open(t, srv.url()), "topic", numbered(1, 3)...)
	if !errors.As(err, &failed) || len(failed.Failed) != 3 || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("Publish returned %v", err)
	}
	wantMend(t, err)
	t.Setenv(redis.PasswordEnv, "secret")
	publish(t, open(t, srv.url()), "topic", numbered(1, 3)...)
}

// wantMend wants both places of a password to be named.
func wantMend(t *testing.T, err error) {
	t.Helper()
	for _, place := range []string{redis.PasswordEnv, "password.file"} {
		if !strings.Contains(err.Error(), place) {
			t.Errorf("%s is not in: %v", place, err)
		}
	}
}

// What the error tells one to type is enough, from no right at all.
func TestTheRightsThatAnErrorNamesAreEnough(t *testing.T) {
	srv := startServer(t)
	srv.do("ACL", "SETUSER", "none", "on", ">secret", "resetchannels", "-@all")
	t.Setenv(redis.PasswordEnv, "secret")
	b := open(t, "redis://none@"+srv.addr)
	err := try(t, b, "topic", event("a", 1))
	if err == nil {
		t.Fatal("it is allowed")
	}
	_, command, _ := strings.Cut(err.Error(), "ACL SETUSER ")
	args := []any{"ACL", "SETUSER"}
	for _, arg := range strings.Fields(command) {
		if len(args) == 2 || strings.ContainsAny(arg[:1], "&+") {
			args = append(args, arg)
		}
	}
	srv.do(args...)
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "topic", event("a", 1))
	s.waitFor(1)
}

// A script that runs for long has the server refuse everything else, until it is over.
func TestAServerThatIsBusyIsWaitedFor(t *testing.T) {
	t.Parallel()
	srv := startServer(t, "--busy-reply-threshold", "10")
	b := open(t, srv.url())
	publish(t, b, "topic", numbered(1, 3)...)
	script := make(chan error, 1)
	c := goredis.NewClient(&goredis.Options{Addr: srv.addr, MaxRetries: -1, ReadTimeout: -1})
	defer c.Close()
	go func() { script <- c.Eval(t.Context(), "while true do end", nil).Err() }()
	probe := goredis.NewClient(&goredis.Options{Addr: srv.addr, MaxRetries: -1})
	defer probe.Close()
	eventually(t, "the script to run", func() bool {
		err := probe.Ping(t.Context()).Err()
		return err != nil && strings.HasPrefix(err.Error(), "BUSY")
	})
	published := make(chan error, 1)
	go func() { published <- try(t, b, "topic", numbered(1, 3)...) }()
	select {
	case err := <-published:
		t.Fatalf("Publish returned %v", err)
	case <-time.After(100 * time.Millisecond): // that it waits can only be seen for a while
	}
	srv.do("SCRIPT", "KILL")
	if err := <-published; err != nil {
		t.Error(err)
	}
	if err := <-script; err == nil {
		t.Error("the script was not killed")
	}
}
