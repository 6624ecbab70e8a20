package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// why an offset is looked for; the greater one wins.
type why int

const (
	whyDoubt    why = iota + 1 // the log may no longer hold the position
	whyReread                  // the reader's own position has moved
	whyAssigned                // the group gave the partition to this member
)

// found is where a partition is to be read on.
type found struct {
	part  *part
	why   why
	log   string // the topic's id, as the broker has it
	next  int64
	moved bool // else next means nothing, and it goes on from wherever it is by now
}

// question is a partition of which an offset is looked for.
type question struct {
	part *part
	why  why
	log  string // as it was when the question came up, like next
	next int64
}

// resolver finds out where partitions are to be read on, on a goroutine of its own: it asks the broker for the
// bounds and the reader, by Resume, for the position, until both have answered.
type resolver struct {
	s    *session
	wake chan struct{}

	mu      sync.Mutex
	open    map[*part]question
	unknown bool // a topic was reported missing
	// known is where each partition was read last, to tell what is lost when its log is another.
	known map[key]bus.Position

	// logs is the id of each topic when it was looked at last, for the resolver's goroutine alone.
	logs map[string]string
}

// newResolver makes a resolver that has nothing to find out yet.
func newResolver(s *session) *resolver {
	return &resolver{
		s: s, wake: make(chan struct{}, 1),
		open: make(map[*part]question), known: make(map[key]bus.Position), logs: make(map[string]string),
	}
}

// ask looks for the offsets of partitions. The poller calls it.
func (r *resolver) ask(w why, parts []*part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range parts {
		if r.open[p].why < w {
			r.open[p] = question{part: p, why: w, log: p.pos.Log, next: p.next}
		}
		if w == whyDoubt {
			r.known[p.key()] = p.where()
		}
	}
	notify(r.wake)
}

// again looks once more for what librdkafka refused to take.
func (r *resolver) again(all []found) {
	for _, f := range all {
		r.ask(f.why, []*part{f.part})
	}
}

// left drops the questions of partitions that are another member's now.
func (r *resolver) left(parts []*part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range parts {
		delete(r.open, p)
		if p.pos.Log != "" {
			r.known[p.key()] = p.where()
		}
	}
}

// missing has topics made that librdkafka doesn't find.
func (r *resolver) missing(err error) {
	r.s.c.throttle.Log(slog.LevelWarn, "missing", "a topic is missing", "group", r.s.sub.Group, "err", err)
	r.setUnknown(true)
	notify(r.wake)
}

// setUnknown says whether a topic has to be made before anything else.
func (r *resolver) setUnknown(unknown bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown = unknown
}

// lookEvery is how often the topics are looked at, to find out when one was made anew. The broker's newer group
// protocol tells; for the rest, librdkafka reads on in the new topic as if nothing had happened, if that is longer.
const lookEvery = 5 * time.Second

// run answers questions until the session ends.
func (r *resolver) run() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.wake:
			r.answer()
		case <-tick.C:
			r.look()
		case <-r.s.ctx.Done():
			return
		}
	}
}

// look has every position checked when a topic is another than it was.
func (r *resolver) look() {
	if !r.s.ready.reachable() {
		return
	}
	err := r.s.c.admin.once(r.s.ctx, func(ctx context.Context) error {
		found, err := r.s.c.admin.describe(ctx, r.s.sub.Topics...)
		for name, t := range found {
			if was, ok := r.logs[name]; ok && was != t.ID.String() {
				r.s.command(r.s.doubt)
				break
			}
		}
		return err
	})
	if err != nil {
		r.s.c.throttle.Log(slog.LevelDebug, "look", "the topics can't be looked at", "group", r.s.sub.Group, "err", err)
	}
}

// answer tries until no question is open.
func (r *resolver) answer() {
	delays := newDelays()
	for {
		questions, unknown := r.questions()
		if len(questions) == 0 && !unknown {
			return
		}
		err := r.try(questions, unknown)
		if err == nil {
			delays.Reset()
			continue
		}
		if r.s.ctx.Err() != nil {
			return
		}
		r.s.c.throttle.Log(slog.LevelWarn, "resume "+r.s.sub.Group, "where to read on is not known yet",
			"group", r.s.sub.Group, "err", err)
		if !sleep(r.s.ctx, delays.NextBackOff()) {
			return
		}
	}
}

// questions returns what is open at the moment, without closing it: a partition may be taken away while the answer
// is being found.
func (r *resolver) questions() ([]question, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]question, 0, len(r.open))
	for _, q := range r.open {
		list = append(list, q)
	}
	return list, r.unknown
}

// try answers the questions, or returns an error.
func (r *resolver) try(questions []question, unknown bool) error {
	ctx := r.s.ctx
	if unknown {
		if _, err := r.s.c.topics.all(ctx, r.s.sub.Topics); err != nil {
			return err
		}
		r.setUnknown(false)
	}
	if len(questions) == 0 {
		return nil
	}
	bounds, err := r.bounds(ctx)
	if err != nil {
		return err
	}
	answers, ask, err := r.sort(questions, bounds)
	if err != nil {
		return err
	}
	r.waitIdle(ask)
	moved, err := r.resume(ctx, ask, bounds)
	if err != nil {
		return err
	}
	r.close(questions)
	answers = append(answers, moved...)
	r.s.command(func() { r.s.start(answers) })
	return nil
}

// sort answers what was doubted without reason, and returns the rest.
func (r *resolver) sort(questions []question, bounds map[key]bus.Partition) (answers []found, ask []question, err error) {
	for _, q := range questions {
		b, ok := bounds[q.part.key()]
		switch {
		case !ok:
			r.setUnknown(true)
			return nil, nil, fmt.Errorf("the broker doesn't know partition %d of topic %q", q.part.pos.Partition, q.part.pos.Topic)
		case q.why == whyDoubt && !r.lost(q, b):
			answers = append(answers, found{part: q.part, why: q.why, log: b.Log})
		default:
			ask = append(ask, q)
		}
	}
	return answers, ask, nil
}

// key names p.
func (p *part) key() key { return key{p.pos.Topic, p.pos.Partition} }

// where is how far the poller has read.
func (p *part) where() bus.Position {
	at := p.pos
	at.Offset = p.next
	return at
}

// bounds asks the broker how all partitions of the topics stand.
func (r *resolver) bounds(ctx context.Context) (map[key]bus.Partition, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	parts, err := r.s.c.admin.partitions(ctx, r.s.sub.Start, r.s.sub.Topics...)
	if err != nil {
		return nil, err
	}
	bounds := make(map[key]bus.Partition, len(parts))
	for _, p := range parts {
		bounds[key{p.Topic, p.Partition}] = p
		r.logs[p.Topic] = p.Log
	}
	return bounds, nil
}

// lost reports whether the log no longer holds the position of q.
func (r *resolver) lost(q question, b bus.Partition) bool {
	return q.log != b.Log || q.next < b.First || q.next > b.Next
}

// waitIdle waits until nothing of the partitions is being handled, so that the reader's own position is settled
// when it is asked for. What was read ahead of them is void.
func (r *resolver) waitIdle(questions []question) {
	var parts []*part
	for _, q := range questions {
		if q.why == whyDoubt {
			parts = append(parts, q.part)
		}
	}
	if h := r.s.queue.void(parts); h != nil {
		select {
		case <-h.over:
		case <-r.s.ctx.Done():
		}
	}
}

// close takes the questions as answered, unless others came up meanwhile.
func (r *resolver) close(questions []question) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range questions {
		if r.open[q.part].why == q.why {
			delete(r.open, q.part)
			delete(r.known, q.part.key())
		}
	}
}

// resume asks the reader, and checks what it says.
func (r *resolver) resume(ctx context.Context, ask []question, bounds map[key]bus.Partition) ([]found, error) {
	list := make([]found, 0, len(ask))
	var parts []bus.Partition
	var asked []question
	for _, q := range ask {
		b := bounds[q.part.key()]
		r.gap(ctx, q, b)
		if q.why == whyDoubt && r.s.sub.Resume == nil {
			// The broker's own record is no better than where we were, which is gone.
			list = append(list, found{part: q.part, why: q.why, log: b.Log, next: b.First, moved: true})
			continue
		}
		parts, asked = append(parts, b), append(asked, q)
	}
	if len(asked) == 0 {
		return list, nil
	}
	offsets, err := r.s.c.resumeAt(ctx, r.s.sub, parts)
	if err != nil {
		return nil, err
	}
	for i, q := range asked {
		list = append(list, found{part: q.part, why: q.why, log: parts[i].Log, next: offsets[i], moved: true})
	}
	return list, nil
}

// gap reports what was lost since a partition was read last, once. Of a partition that another member may have read
// meanwhile only a new log says that something is.
func (r *resolver) gap(ctx context.Context, q question, b bus.Partition) {
	r.mu.Lock()
	was, ok := r.known[q.part.key()]
	delete(r.known, q.part.key())
	r.mu.Unlock()
	if !ok || r.s.sub.OnGap == nil || q.why != whyDoubt && was.Log == b.Log {
		return
	}
	if g, lost := gapOf(was, b); lost {
		r.s.sub.OnGap(ctx, g)
	}
}
