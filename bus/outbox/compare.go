package outbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// comparison compares what was marked as sent with what the logs hold, for one leadership. A log may be another one
// than it was, for its topic was deleted and made anew, or shorter, for its broker has lost the end of it.
//
// A log that was cut and has grown again beyond its old end looks whole. So it has to be found before it has grown, and
// it is this relay that makes it grow: see [ends.acknowledged]. The relay before has marked what it had acknowledged
// together with the ends, and begins as this one does.
type comparison struct {
	in    bus.Inspector
	ends  ends               // nil until they are read
	cuts  map[logPart]refill // where a log was cut, and is not yet filled
	low   map[logPart]int64  // the lowest acknowledgement that stood in front of an end, and so was not taken
	looks map[string]*look   // by topic: one that has no answer says nothing of the others
	first chan struct{}      // closed when the first answers were waited for

	mu     sync.Mutex      // for what the purge asks
	unseen map[string]bool // topics of which rows are held, and whose log was never looked at by this leadership
}

// newComparison compares nothing where the bus has no log, or can't be asked.
func newComparison(b bus.Bus, durable bool) *comparison {
	c := &comparison{first: make(chan struct{}), low: make(map[logPart]int64), looks: make(map[string]*look)}
	if in, ok := b.(bus.Inspector); ok && durable {
		c.in = in
	} else {
		c.start()
	}
	return c
}

// start lets the purge begin.
func (c *comparison) start() {
	select {
	case <-c.first:
	default:
		close(c.first)
	}
}

// take is [ends.acknowledged] for what came of a publish.
func (c *comparison) take(topic string, events []bus.Event, err error) error {
	var partial *bus.PublishError
	if c.in == nil || c.ends == nil || err != nil && !errors.As(err, &partial) {
		return nil
	}
	var failed map[int]error
	if partial != nil {
		failed = partial.Failed
	}
	moved := c.ends.acknowledged(topic, events, failed)
	if moved != nil {
		c.lookAt(topic).doubted()
		c.lower(topic, events, failed)
	}
	return moved
}

// lower takes note of where a log was cut at the latest: what was acknowledged and not taken stands in it by now.
func (c *comparison) lower(topic string, events []bus.Event, failed map[int]error) {
	for i := range events {
		at := &events[i].At
		p := logPart{topic, at.Log, at.Partition}
		if !placed(at, failed[i]) || at.Offset >= c.ends.of(p) {
			continue
		}
		if low, known := c.low[p]; !known || at.Offset < low {
			c.low[p] = at.Offset
		}
	}
}

// compareLogs asks the broker from time to time, without waiting for the answers, and has what a log lacks sent again.
// It waits, for a bounded time, before anything is published by a new leader, and when a doubt comes up: once, and then
// it goes on without. An error is one of the database; a broker that doesn't answer is asked again.
func (r *relay) compareLogs(ctx context.Context) error {
	c := r.logs
	if c.in == nil {
		return nil
	}
	if c.ends == nil {
		if err := r.begin(ctx, c); err != nil {
			return err
		}
	}
	for topic := range c.ends { // all are asked before any is waited for
		if l := c.lookAt(topic); l.wants(time.Now()) {
			r.ask(ctx, topic, l)
		}
	}
	for topic := range c.ends {
		if err := r.takeLook(ctx, topic, c.lookAt(topic)); err != nil || c.in == nil {
			return err
		}
	}
	c.start()
	return nil
}

// begin reads what is stored, and says what can't be mended, once.
func (r *relay) begin(ctx context.Context, c *comparison) error {
	known, held, err := r.readEnds(ctx)
	if err != nil {
		return err
	}
	if c.cuts, err = r.readRefills(ctx); err != nil {
		return err
	}
	lacking, since, err := r.readLacking(ctx)
	if err != nil {
		return err
	}
	if lacking > 0 {
		r.log.WarnContext(ctx, "outbox: a log lacks events that were purged here, so that nobody new can read them",
			"events", lacking, "found", since)
	}
	c.expect(known, held)
	return nil
}

// expect has the logs of all topics looked at. Only of those with rows that are held can anything be sent again, or be
// purged too early: the others hold nothing up.
func (c *comparison) expect(known ends, held map[string]bool) {
	for topic := range known {
		c.looks[topic] = &look{waited: !held[topic]}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends, c.unseen = known, held
}

// unpurged are the topics whose log was not looked at, in order: what they hold may have to be sent again.
func (c *comparison) unpurged() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.unseen))
}

// readLacking reads what was found to be lacking.
func (r *relay) readLacking(ctx context.Context) (n int64, since time.Time, err error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	var lacked int64
	err = r.db.QueryRowContext(ctx, `SELECT lacking, lacked FROM tidings_outbox_relay WHERE id = 1`).Scan(&n, &lacked)
	return n, fromMicro(lacked), err
}

// mend has sent again what an answer shows to be lacking.
func (r *relay) mend(ctx context.Context, look *look, a answer) (err error) {
	c := r.logs
	cut := false
	for _, l := range judge(a.known, c.low, a.parts) {
		if err := r.resend(ctx, l); err != nil {
			return err
		}
		c.ends.settle(l)
		cut = cut || len(l.cuts) > 0
	}
	look.soon = cut
	if cut || len(c.cuts) > 0 { // what was marked since the last look is told by the database
		if c.cuts, err = r.readRefills(ctx); err != nil {
			return err
		}
	}
	for _, p := range a.parts {
		at := logPart{p.Topic, p.Log, p.Partition}
		f, is := c.cuts[at]
		if !is {
			continue
		}
		again, full, err := r.refillPart(ctx, at, f, p.Next)
		if err != nil {
			return err
		}
		if full {
			delete(c.cuts, at)
		}
		look.soon = look.soon || again > 0
	}
	return nil
}

// lack is what the log of a topic lacks.
type lack struct {
	topic string
	log   string // the present one
	cuts  []cut  // of its partitions
	old   []string
}

// cut is a partition that has lost its end: what was at the offsets from next to end is gone.
type cut struct {
	part             int32
	first, next, end int64
	from             int64 // some in front of next too: see widen
}

// judge says what the logs lack of what is known. A topic that isn't there lacks nothing: nobody can say yet what will
// take its place, and a broker that has just started may not know of it.
func judge(known ends, low map[logPart]int64, parts []bus.Partition) (lacks []lack) {
	for i, p := range parts {
		if i == 0 || parts[i-1].Topic != p.Topic {
			lacks = append(lacks, lack{topic: p.Topic, log: p.Log})
		}
		l := &lacks[len(lacks)-1]
		at, next := logPart{p.Topic, p.Log, p.Partition}, p.Next
		if taken, some := low[at]; some {
			next = min(next, taken)
		}
		if end := known.of(at); end > next {
			l.cuts = append(l.cuts, cut{part: p.Partition, first: p.First, next: next, end: end, from: next})
		}
	}
	some := lacks[:0]
	for _, l := range lacks {
		for log := range known[l.topic] {
			if log != l.log {
				l.old = append(l.old, log)
			}
		}
		if len(l.old)+len(l.cuts) > 0 {
			some = append(some, l)
		}
	}
	return some
}
