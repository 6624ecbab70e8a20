package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// look is how the log of one topic is looked at. Each topic is asked about by itself, for a broker that can't tell of
// one partition answers nothing at all, and it may be of a topic that was given up long ago.
type look struct {
	asked  <-chan answer // a question that is out
	cancel context.CancelFunc
	due    time.Time // of the next one

	soon   bool // the log is being filled, and there is more to be done
	doubt  bool // an acknowledgement came from another log: nothing is sent before an answer was waited for
	stale  bool // the question that is out was asked before the last such acknowledgement
	waited bool // an answer came, or was waited for in vain, so that nothing more is held up
	silent bool // the last question had no answer
}

// answer is what the broker said, and what was known when it was asked: the log has grown since.
type answer struct {
	parts []bus.Partition
	known ends
	err   error
}

// lookAt is the look at a topic. One that was published for the first time by this leadership holds nothing up.
func (c *comparison) lookAt(topic string) *look {
	if c.looks[topic] == nil {
		c.looks[topic] = &look{waited: true}
	}
	return c.looks[topic]
}

// soon reports whether a log is being filled.
func (c *comparison) soon() bool {
	for _, l := range c.looks {
		if l.soon {
			return true
		}
	}
	return false
}

// finish waits for all questions that are out, and forgets them.
func (c *comparison) finish() {
	for _, l := range c.looks {
		l.forget()
	}
}

// doubted takes note of an acknowledgement from another log. The first one is worth a wait. Others come until there is
// an answer, if there was none; they don't begin the question anew, or it would never have one.
func (l *look) doubted() {
	if !l.doubt {
		l.forget()
		l.doubt, l.waited = true, false
	}
	l.stale = l.asked != nil
}

// forget gives up the question that is out.
func (l *look) forget() {
	if l.asked != nil {
		l.cancel()
		<-l.asked
	}
	l.asked, l.stale = nil, false
}

// wants reports whether it is time for a question.
func (l *look) wants(now time.Time) bool {
	return l.asked == nil && (!l.waited || !now.Before(l.due))
}

// ask asks how the log of a topic stands.
func (r *relay) ask(ctx context.Context, topic string, l *look) {
	in, known := r.logs.in, r.logs.ends.copyOf(topic)
	ctx, l.cancel = context.WithTimeout(ctx, r.pace.away)
	cancel := l.cancel
	l.due = time.Now().Add(r.pace.compare)
	l.asked = started(func() answer {
		defer cancel()
		parts, err := in.Partitions(ctx, topic)
		return answer{parts, known, err}
	})
}

// takeLook goes by the answer if there is one, and waits for it if it has to.
func (r *relay) takeLook(ctx context.Context, topic string, l *look) error {
	if l.asked == nil {
		return nil
	}
	if !l.waited {
		l.waited = true
		return r.takeAnswer(ctx, topic, l, <-l.asked)
	}
	select {
	case a := <-l.asked:
		return r.takeAnswer(ctx, topic, l, a)
	default:
		return nil
	}
}

// takeAnswer goes by an answer. Where something is lacking nothing is published before it is unsent again: it goes out
// before what is newer.
func (r *relay) takeAnswer(ctx context.Context, topic string, l *look, a answer) error {
	c, stale := r.logs, l.stale
	l.asked, l.stale = nil, false
	switch {
	case errors.Is(a.err, errors.ErrUnsupported):
		c.finish()
		c.expect(c.ends, nil)
		c.in = nil
		c.start()
		return nil
	case a.err != nil:
		if !l.silent && ctx.Err() == nil {
			r.log.WarnContext(ctx, "outbox: what was sent can't be compared with the log; the broker is asked again",
				"topic", topic, "err", a.err)
		}
		l.silent = true
		return nil
	case stale: // the broker answers by now, so that the next answer is worth a wait
		l.waited = false
		r.ask(ctx, topic, l)
		return r.takeLook(ctx, topic, l)
	}
	err := r.mend(ctx, l, a)
	if err == nil {
		err = r.storeSeen(ctx, a.parts)
	}
	if err != nil {
		l.doubt, l.waited = true, false // all is as it was, or nearly: it is found again
		return err
	}
	for _, p := range a.parts {
		c.ends.raise(logPart{p.Topic, p.Log, p.Partition}, p.Next)
	}
	l.silent, l.doubt = false, false
	c.settled(topic)
	if l.soon {
		l.due = time.Now()
	}
	return nil
}

// settled says that the log of a topic was looked at, and what it lacks is unsent again.
func (c *comparison) settled(topic string) {
	for p := range c.low {
		if p.topic == topic {
			delete(c.low, p)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.unseen, topic)
}
