package outbox

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/redis"
)

// redisBus connects to a real server where TIDINGS_TEST_REDIS names one, else to an embedded one.
func redisBus(t *testing.T) bus.Bus {
	t.Helper()
	url := os.Getenv("TIDINGS_TEST_REDIS")
	if url == "" {
		server, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addr: "127.0.0.1:0", Log: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeSoon(t, server.Close) })
		url = server.URL()
	}
	b, err := bus.Open(t.Context(), url, redis.Backend(), bus.WithLogger(logger(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSoon(t, b.Close) })
	return b
}

func closeSoon(t *testing.T, closing func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := closing(ctx); err != nil {
		t.Error(err)
	}
}

// ear is a subscriber that notes what it hears.
type ear struct {
	mu     sync.Mutex
	ready  bool
	events []bus.Event
	beats  map[uint64]string // a numbering's id by number
}

// listen subscribes until the test or stop ends it, and returns once the subscription stands.
func (e *ear) listen(t *testing.T, b bus.Bus, topic string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := bus.Subscription{Group: topic, Topics: []string{topic}, OnReady: func(ready bool) {
		e.set(func() { e.ready = ready })
	}}
	go func() { done <- b.Subscribe(ctx, s, e.handle) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "the subscription", func() (ready bool) { e.set(func() { ready = e.ready }); return ready })
	return stop
}

func (e *ear) handle(_ context.Context, d bus.Delivery) error {
	e.set(func() {
		e.events = append(e.events, d.Events...)
		for _, h := range d.Heartbeats {
			e.beats[h.Seq] = h.SeqLog
		}
	})
	return nil
}

func (e *ear) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

func TestNumbersOnRedis(t *testing.T) {
	file, topic := newFile(t), fmt.Sprintf("outbox.%x", time.Now().UnixNano())
	b := redisBus(t)
	send := func(from, to int) (stop func(), o *Outbox) {
		t.Helper()
		o = newOutbox(t, openDB(t, file), WithStream(topic, "/things"))
		o.pace.beat = 100 * time.Millisecond
		for v := from; v <= to; v++ {
			if err := addTo(t.Context(), o, topic, event("a", v), event("b", v)); err != nil {
				t.Fatal(err)
			}
		}
		stop = relaying(t, o, b)
		drained(t, o)
		return stop, o
	}
	stop, o := send(1, 50)
	if s := status(t, o); s.Unheard != 100 || s.Sent != 100 {
		t.Errorf("nobody listens: %+v", s)
	}
	heard := &ear{beats: make(map[uint64]string)}
	heard.listen(t, b, topic)
	eventually(t, "a heartbeat of what was missed", func() (ok bool) {
		heard.set(func() { _, ok = heard.beats[100] })
		return ok
	})
	stop()
	_, o = send(51, 100) // by another process, as it were
	eventually(t, "all events and a heartbeat", func() (ok bool) {
		heard.set(func() { _, ok = heard.beats[200]; ok = ok && len(heard.events) == 100 })
		return ok
	})
	log := stream(t, o, topic, "/things").SeqLog
	for i, e := range heard.events {
		if int(e.Seq) != 101+i || e.SeqLog != log || heard.beats[200] != log {
			t.Fatalf("event %d has the number %d of %q, want %q", i, e.Seq, e.SeqLog, log)
		}
	}
	if s := status(t, o); s.Unheard != 100 || s.Sent != 200 {
		t.Errorf("one listens: %+v", s)
	}
	if n := count(t, o.db, `SELECT count(*) FROM tidings_outbox_sent WHERE heard = 1 AND off = -1`); n != 100 {
		t.Errorf("%d rows were heard by one", n)
	}
}
