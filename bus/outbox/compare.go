package outbox

import (
	"context"
	"errors"
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
	in   bus.Inspector
	ends ends               // nil until they are read
	cuts map[logPart]refill // where a log was cut, and is not yet filled
	low  map[logPart]int64  // the lowest acknowledgement that stood in front of an end, and so was not taken

	asked   <-chan answer // a question that is out
	due     time.Time     // of the next one
	soon    bool          // a log is being filled, and there is more to be done
	doubt   bool          // an acknowledgement came from another log: nothing is sent before there is an answer
	stale   bool          // the question that is out was asked before the doubt came up
	silent  bool          // the last question had no answer
	started bool          // at least one had, or there is nothing to ask about
	first   chan struct{} // closed with started
}

// answer is what the broker said, and what was known when it was asked: the log has grown since.
type answer struct {
	parts []bus.Partition
	known ends
	err   error
}

// newComparison compares nothing where the bus has no log, or can't be asked.
func newComparison(b bus.Bus, durable bool) *comparison {
	c := &comparison{first: make(chan struct{}), low: make(map[logPart]int64)}
	if in, ok := b.(bus.Inspector); ok && durable {
		c.in = in
	} else {
		c.start()
	}
	return c
}

// start says that what was purged before is not needed any more.
func (c *comparison) start() {
	if !c.started {
		c.started = true
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
		c.doubt, c.stale = true, c.asked != nil
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

// compareLogs asks the broker from time to time, without waiting for the answer, and has what a log lacks sent again.
// It waits, for a bounded time, before anything is published by a new leader, and while there is a doubt. An error is
// one of the database; a broker that doesn't answer is asked again.
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
	if c.stale {
		c.finish()
	}
	if now := time.Now(); c.asked == nil && (c.doubt || !now.Before(c.due)) {
		c.due = now.Add(r.pace.compare)
		if len(c.ends) == 0 {
			c.start()
			return nil
		}
		c.asked = r.askLogs(ctx)
	}
	if c.asked == nil {
		return nil
	}
	if c.doubt || !c.started {
		return r.takeAnswer(ctx, <-c.asked)
	}
	select {
	case a := <-c.asked:
		return r.takeAnswer(ctx, a)
	default:
		return nil
	}
}

// begin reads what is stored, and says what can't be mended, once.
func (r *relay) begin(ctx context.Context, c *comparison) error {
	known, err := r.readEnds(ctx)
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
	c.ends = known
	return nil
}

// readLacking reads what was found to be lacking.
func (r *relay) readLacking(ctx context.Context) (n int64, since time.Time, err error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	var lacked int64
	err = r.db.QueryRowContext(ctx, `SELECT lacking, lacked FROM tidings_outbox_relay WHERE id = 1`).Scan(&n, &lacked)
	return n, fromMicro(lacked), err
}

// askLogs asks how the logs stand.
func (r *relay) askLogs(ctx context.Context) <-chan answer {
	known := r.logs.ends.copy()
	return started(func() answer {
		ctx, cancel := context.WithTimeout(ctx, r.pace.away)
		defer cancel()
		parts, err := r.logs.in.Partitions(ctx, known.topics()...)
		return answer{parts, known, err}
	})
}

// takeAnswer goes by an answer. Where something is lacking nothing is published before it is unsent again: it goes out
// before what is newer.
func (r *relay) takeAnswer(ctx context.Context, a answer) error {
	c := r.logs
	c.asked = nil
	if errors.Is(a.err, errors.ErrUnsupported) {
		c.in = nil
		c.start()
		return nil
	}
	if a.err != nil {
		if !c.silent && ctx.Err() == nil {
			r.log.WarnContext(ctx, "outbox: what was sent can't be compared with the log; the broker is asked again", "err", a.err)
		}
		c.silent = true
		return nil
	}
	if err := r.mend(ctx, a); err != nil {
		c.doubt = true // all is as it was, or nearly: it is found again
		return err
	}
	for _, p := range a.parts {
		c.ends.raise(logPart{p.Topic, p.Log, p.Partition}, p.Next)
	}
	c.silent, c.doubt = false, false
	clear(c.low)
	if c.soon {
		c.due = time.Now()
	}
	c.start()
	return nil
}

// mend has sent again what an answer shows to be lacking.
func (r *relay) mend(ctx context.Context, a answer) (err error) {
	c := r.logs
	c.soon = false
	for _, l := range judge(a.known, c.low, a.parts) {
		if err := r.resend(ctx, l); err != nil {
			return err
		}
		c.ends.settle(l)
		c.soon = c.soon || len(l.cuts) > 0
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
		c.soon = c.soon || again > 0
	}
	return nil
}

// finish waits for a question that is out, and forgets it.
func (c *comparison) finish() {
	if c.asked != nil {
		<-c.asked
	}
	c.asked, c.stale = nil, false
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
