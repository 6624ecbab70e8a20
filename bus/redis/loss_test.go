package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// The tests here lose events on purpose. What is published is numbered, so that what is missing can be counted
// without asking the backend, and then they look whether it has said so.

// numbered makes the events from..to, of ten keys.
func numbered(from, to int) []bus.Event {
	var all []bus.Event
	for i := from; i <= to; i++ {
		e := event(fmt.Sprintf("key-%d", i%10), i)
		e.Seq = uint64(i)
		all = append(all, e)
	}
	return all
}

// load publishes numbered events until it is stopped.
type load struct {
	t     testing.TB
	end   context.CancelFunc
	ended sync.WaitGroup

	mu      sync.Mutex
	n       int          // acknowledged
	unheard map[int]bool // by number: nobody had heard it
}

// startLoad publishes twenty events each two milliseconds. Every one has to be acknowledged in the end.
func startLoad(t testing.TB, b bus.Bus, topic string) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, end: cancel, unheard: make(map[int]bool)}
	l.ended.Go(func() {
		ticks := time.NewTicker(2 * time.Millisecond)
		defer ticks.Stop()
		for ctx.Err() == nil {
			l.batch(b, topic)
			<-ticks.C
		}
	})
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) batch(b bus.Bus, topic string) {
	const size = 20
	es := numbered(l.count()+1, l.count()+size)
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	if err := b.Publish(ctx, topic, es...); err != nil {
		l.t.Errorf("publish: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += size
	for _, e := range es {
		if e.At != (bus.Position{Topic: topic, Offset: -1}) {
			l.t.Errorf("event %d is at %+v", e.Seq, e.At)
		}
		if e.Heard == 0 {
			l.unheard[int(e.Seq)] = true
		}
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// stop returns how many were published.
func (l *load) stop() int {
	l.end()
	l.ended.Wait()
	return l.count()
}

// more waits until n more have been acknowledged.
func (l *load) more(n int) {
	l.t.Helper()
	before := l.count()
	eventually(l.t, "more to be published", func() bool { return l.count() >= before+n })
}

// losses are what the numbers say about what a subscriber has.
type losses struct {
	got    map[int]bool
	total  int      // how many are missing
	runs   [][2]int // from, to
	inTurn bool     // each key's events came in order, but for repeats
}

func (s *subscriber) losses(n int) losses {
	l := losses{got: make(map[int]bool), inTurn: true}
	last := make(map[string]uint64)
	for _, e := range s.got() {
		if !l.got[int(e.Seq)] && e.Seq < last[e.Key] {
			l.inTurn = false
		}
		l.got[int(e.Seq)] = true
		last[e.Key] = max(last[e.Key], e.Seq)
	}
	for i := 1; i <= n; i++ {
		if l.got[i] {
			continue
		}
		l.total++
		if k := len(l.runs) - 1; k >= 0 && l.runs[k][1] == i-1 {
			l.runs[k][1] = i
		} else {
			l.runs = append(l.runs, [2]int{i, i})
		}
	}
	return l
}

// allGaps splits what OnGap heard: how often the connection was lost, and how many were counted.
func (s *subscriber) allGaps() (lost int, counted uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gaps {
		if g.At.Offset != -1 || g.At.Topic == "" || g.Reason == "" {
			s.t.Errorf("a gap says %+v", g)
		}
		if strings.Contains(g.Reason, "was lost") {
			lost++
			if g.Missed != 0 {
				s.t.Errorf("a lost connection was counted: %+v", g)
			}
		}
		counted += g.Missed
	}
	return lost, counted
}

// check holds what is missing against what was told. What is lost with a connection is one run of numbers, for the
// numbers are published one after the other; so there must be a gap for each run.
func (s *subscriber) check(n int, unheard map[int]bool) losses {
	s.t.Helper()
	l := s.losses(n)
	lost, counted := s.allGaps()
	s.t.Logf("%d published, %d missing in %v, %d times lost, %d counted, %d unheard", n, l.total, l.runs, lost, counted, len(unheard))
	if len(l.runs) > lost {
		s.t.Errorf("%d runs are missing (%v), and only %d losses were told", len(l.runs), l.runs, lost)
	}
	if counted != 0 {
		s.t.Errorf("%d were counted where nobody can count", counted)
	}
	if !l.inTurn {
		s.t.Error("a key's events came out of order")
	}
	for i := range unheard {
		if l.got[i] {
			s.t.Errorf("event %d was received, though nobody had heard it", i)
			break
		}
	}
	return l
}

// finish publishes a last event and waits for it: all that comes before it has come by then.
func (s *subscriber) finish(b bus.Bus, topic string, n int) {
	s.t.Helper()
	last := event("key-last", n)
	last.ID = "the last"
	publish(s.t, b, topic, last)
	eventually(s.t, "the last event", func() bool {
		got := s.got()
		return len(got) > 0 && got[len(got)-1].ID == last.ID
	})
}

// disturbed is a subscription under load to which something is done, several times.
func disturbed(t *testing.T, pub, sub bus.Bus, times int, disturb func()) losses {
	t.Helper()
	topic := unique(t, "topic")
	s := subscribe(t, sub, bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	l := startLoad(t, pub, topic)
	for range times {
		l.more(200)
		before, _ := s.allGaps()
		disturb()
		eventually(t, "the loss to be told", func() bool { lost, _ := s.allGaps(); return lost > before })
		eventually(t, "the subscription", s.isReady)
	}
	l.more(200)
	n := l.stop()
	s.finish(pub, topic, n)
	if lost, _ := s.allGaps(); lost != times {
		t.Errorf("%d losses were told, of %d", lost, times)
	}
	s.checkTurns(times)
	return s.check(n, l.unheard)
}

// checkTurns looks at readiness: true, and false and true again for each loss.
func (s *subscriber) checkTurns(times int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, ready := range s.ready {
		if ready != (i%2 == 0) {
			s.t.Errorf("OnReady heard %v", s.ready)
		}
	}
	if len(s.ready) != 2*times+1 {
		s.t.Errorf("OnReady heard %v, for %d losses", s.ready, times)
	}
}

func TestAServerKilledUnderLoadIsNoticedEachTime(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	l := disturbed(t, open(t, srv.url()), open(t, srv.url()), 3, func() {
		srv.kill()
		srv.start()
	})
	// After each kill at least 200 are published while the subscription stands; some of them are cut off by the next one.
	if len(l.got) < 3*100 {
		t.Errorf("only %d came through", len(l.got))
	}
}

func TestASubscriberThatIsKilledNoticesEachTime(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	disturbed(t, open(t, srv.url()), open(t, srv.url()), 3, func() {
		if n := srv.do("CLIENT", "KILL", "TYPE", "pubsub"); n != int64(1) {
			t.Errorf("%v clients were killed", n)
		}
	})
}

func TestACutConnectionOfTheSubscriberIsNoticed(t *testing.T) {
	t.Parallel()
	url := serverURL(t) // on the embedded server, too
	via := startProxy(t, strings.TrimSuffix(strings.TrimPrefix(url, "redis://"), "/0"))
	disturbed(t, open(t, url), open(t, via.url()), 3, via.cut)
}

// A connection whose other side is gone without a word: only an answer that doesn't come tells.
func TestAHalfOpenConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	url := serverURL(t)
	via := startProxy(t, strings.TrimSuffix(strings.TrimPrefix(url, "redis://"), "/0"))
	pub, sub := open(t, url), open(t, via.url(), "ping.interval=200ms", "dial.timeout=200ms", "answer.timeout=200ms")
	topic := unique(t, "topic")
	s := subscribe(t, sub, bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, pub, topic, numbered(1, 10)...)
	s.waitFor(10)
	via.stall()
	publish(t, pub, topic, numbered(11, 20)...)
	eventually(t, "the loss to be told", func() bool { lost, _ := s.allGaps(); return lost == 1 })
	if s.isReady() {
		t.Error("it is ready")
	}
	via.resume()
	eventually(t, "the subscription", s.isReady)
	publish(t, pub, topic, numbered(21, 30)...)
	s.finish(pub, topic, 31)
	if l := s.check(30, nil); l.total != 10 || l.runs[0] != [2]int{11, 20} {
		t.Errorf("missing: %v", l.runs)
	}
}

// A subscription on a quiet topic is asked again and again, and stays.
func TestAQuietConnectionIsNotTakenForAHalfOpenOne(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	s := subscribe(t, open(t, srv.url(), "ping.interval=250ms"), bus.Subscription{Group: "g", Topics: []string{"quiet"}}, nil)
	eventually(t, "the subscription", s.isReady)
	eventually(t, "pings", func() bool { return srv.calls("ping") > 3 })
	if lost, _ := s.allGaps(); lost != 0 {
		t.Error("it was lost")
	}
	s.checkTurns(0)
}

// The server buffers for a subscriber that doesn't read, up to its limit, and then hangs up.
func TestTheServersOutputBufferCutIsNoticed(t *testing.T) {
	t.Parallel()
	srv := startServer(t, "--client-output-buffer-limit", "pubsub 64kb 0 0")
	via := startProxy(t, srv.addr)
	topic, pub := unique(t, "topic"), open(t, srv.url())
	s := subscribe(t, open(t, via.url()), bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	eventually(t, "the subscription", s.isReady)
	via.stall()
	n, unheard := 0, map[int]bool{}
	for len(unheard) == 0 {
		es := numbered(n+1, n+1000)
		publish(t, pub, topic, es...)
		n += len(es)
		for _, e := range es {
			if e.Heard == 0 {
				unheard[int(e.Seq)] = true
			}
		}
		if n > 1_000_000 {
			t.Fatal("the server doesn't cut it off")
		}
	}
	via.resume()
	eventually(t, "the loss to be told", func() bool { lost, _ := s.allGaps(); return lost == 1 })
	eventually(t, "the subscription", s.isReady)
	publish(t, pub, topic, numbered(n+1, n+100)...)
	s.finish(pub, topic, n+101)
	if l := s.check(n+100, unheard); len(l.runs) != 1 || l.total < len(unheard) {
		t.Errorf("missing: %v", l.runs)
	}
}

// A handler that is stuck burdens nobody: our side goes on reading, and counts what it has to drop to the unit.
func TestAnOverflowOfTheBufferIsCountedExactly(t *testing.T) {
	t.Parallel()
	srv := startServer(t, "--client-output-buffer-limit", "pubsub 256kb 0 0")
	for name, url := range map[string]string{"real": srv.url(), "embedded": startEmbedded(t, "127.0.0.1:0").URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overflow(t, url)
		})
	}
}

func overflow(t *testing.T, url string) {
	topic, pub := unique(t, "topic"), open(t, url)
	stuck := make(chan struct{})
	s := subscribe(t, open(t, url, "buffer=1MiB"), bus.Subscription{Group: "g", Topics: []string{topic}},
		func(context.Context, bus.Delivery) error {
			<-stuck
			return nil
		})
	eventually(t, "the subscription", s.isReady)
	const n = 20_000 // of about 500 bytes
	beat, err := bus.Heartbeat{Topic: topic, Source: "/test", SeqLog: "log", Seq: 1}.Event()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n / 100 {
		publish(t, pub, topic, numbered(i*100+1, i*100+100)...)
		publish(t, pub, topic, beat) // dropped as well, and missed by nobody
	}
	eventually(t, "the overflow to be told while the handler is stuck", func() bool { _, counted := s.allGaps(); return counted > 0 })
	close(stuck)
	s.finish(pub, topic, n)
	l := s.losses(n)
	eventually(t, "the rest to be told", func() bool { _, counted := s.allGaps(); return counted >= uint64(l.total) })
	lost, counted := s.allGaps()
	t.Logf("%d published, %d missing, %d counted, in %d gaps", n, l.total, counted, len(s.gaps))
	if counted != uint64(l.total) || l.total == 0 || lost != 0 || !l.inTurn {
		t.Errorf("%d are missing in %v, %d were counted; %d times lost; in turn: %v", l.total, l.runs, counted, lost, l.inTurn)
	}
	if !l.got[n] || len(l.runs) > 2 { // the delivery in hand, what was dropped, the newest
		t.Errorf("it is not the oldest that were dropped: %v", l.runs)
	}
}
