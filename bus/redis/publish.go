package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/tidings-dev/tidings/bus"
)

// What is sent before its answers are read. More gains nothing, and the server's answers must find room in the
// sockets meanwhile.
const (
	pipelineEvents = 1000
	pipelineBytes  = 4 << 20
)

// publisher has the one link that all calls of Publish take turns at, so that what is published is in one order.
type publisher struct {
	set     settings
	unheard *unheard
	log     *slog.Logger
	turn    chan struct{} // holds one token; whoever took it has what stands below
	link    *link         // nil until it is needed, and after it failed
	greeted bool          // the server at its other end is known
	buf     []byte        // envelopes of a pipeline
	outage  *outage
	// listeners is of those who were there before an outage.
	listeners *listeners
}

func newPublisher(set settings, log *slog.Logger) *publisher {
	p := &publisher{
		set: set, log: log, unheard: newUnheard(log), turn: make(chan struct{}, 1),
		outage: newOutage(log, "publishing"), listeners: newListeners(log),
	}
	p.turn <- struct{}{}
	return p
}

// close gives the link back; no call may be under way.
func (p *publisher) close() {
	select {
	case <-p.turn: // stays taken
	default:
		return // a call that didn't end in time; its link goes with it
	}
	p.drop()
	p.unheard.close()
}

// drop gives up a link that failed.
func (p *publisher) drop() {
	if p.link != nil {
		p.link.close()
		p.link = nil
	}
}

// publishing is one call of Publish.
type publishing struct {
	p      *publisher
	topic  string
	events []bus.Event
	left   []int // indexes of what is not acknowledged, in order
	failed map[int]error
	last   error // of the server, or of the way to it
}

// publish sends events, and sends again what was not answered, until all are or ctx ends.
func (p *publisher) publish(ctx context.Context, topic string, events []bus.Event) error {
	c := &publishing{p: p, topic: topic, events: events, left: make([]int, len(events))}
	for i := range events {
		events[i].At, events[i].Heard = bus.Position{}, 0 // what stays so was not acknowledged
		c.left[i] = i
	}
	c.run(ctx)
	p.unheard.note(topic, events)
	if len(c.failed) > 0 {
		return &bus.PublishError{Topic: topic, Failed: c.failed}
	}
	return nil
}

// run takes turns at the link until nothing is left.
func (c *publishing) run(ctx context.Context) {
	for len(c.left) > 0 {
		select {
		case <-ctx.Done():
			c.giveUp(ctx)
			return
		case <-c.p.turn:
		}
		c.turn(ctx)
	}
}

// turn has the link, for as long as it works.
func (c *publishing) turn(ctx context.Context) {
	err := c.send(ctx)
	if err == nil {
		c.p.outage.over()
		c.p.turn <- struct{}{}
		return
	}
	c.p.drop()
	c.p.turn <- struct{}{}
	if len(c.left) > 0 && ctx.Err() == nil {
		// Dialing ends at the deadline a moment before ctx itself does, and that is not what was in the way.
		if end, ok := ctx.Deadline(); !ok || time.Now().Before(end) {
			c.last = err
		}
		c.p.outage.wait(ctx, err)
	}
}

// giveUp fails all that is left, with what ended ctx and what was in the way.
func (c *publishing) giveUp(ctx context.Context) {
	err := context.Cause(ctx)
	if c.last != nil {
		err = fmt.Errorf("%w (%w)", err, c.last)
	}
	for _, i := range c.left {
		c.fail(i, err)
	}
	c.left = nil
}

// send sends all that is left, a pipeline at a time. An error means that the link is of no use any more.
func (c *publishing) send(ctx context.Context) error {
	if c.p.link == nil {
		if err := c.connect(ctx); err != nil {
			return c.away(err)
		}
	}
	l := c.p.link
	stop := context.AfterFunc(ctx, l.cut)
	err := c.greet(ctx, l)
	if err == nil {
		err = c.await(ctx, l)
	}
	for err == nil && len(c.left) > 0 && ctx.Err() == nil {
		err = c.pipeline(ctx, l)
	}
	if err != nil {
		if stop() { // else it was cut
			c.p.listeners.broke()
		}
		return c.away(err)
	}
	if !stop() { // it was cut
		return context.Cause(ctx)
	}
	return nil
}

// connect makes the link. A server that can't be reached is away, unless it is the caller who gave up.
func (c *publishing) connect(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	l, err := connect(ctx, c.p.set)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			c.p.listeners.outage()
		}
		return err
	}
	c.p.link, c.p.greeted = l, false
	return nil
}

// greet asks a new link which process is at its other end. One that doesn't say may be used all the same.
func (c *publishing) greet(ctx context.Context, l *link) error {
	if c.p.greeted {
		return nil
	}
	info, err := l.client.Info(ctx, "server").Result()
	switch reply, replied := refused(err); {
	case replied && (passing(reply) || l.closed()):
		return c.shutOut(reply)
	case err != nil && !replied:
		if ctx.Err() == nil { // what took the connection is not the server, but stands before it
			c.p.listeners.outage()
		}
		return err
	}
	c.p.greeted = true
	c.p.listeners.connected(runID(info))
	return nil
}

// runID returns the id that a server has for as long as its process lives.
func runID(info string) string {
	_, after, _ := strings.Cut(info, "run_id:")
	id, _, _ := strings.Cut(after, "\r\n")
	return id
}

// away says of an error whose it is, and what mends it.
func (c *publishing) away(err error) error { return c.p.set.away(err, c.topic) }

// await lets those who listened before an outage come back first.
func (c *publishing) await(ctx context.Context, l *link) error {
	err := c.p.listeners.await(ctx, l, c.topic)
	if reply, replied := refused(err); replied {
		return c.shutOut(reply)
	}
	return err
}

// pipeline sends the first of what is left in one go, and reads their answers.
func (c *publishing) pipeline(ctx context.Context, l *link) error {
	pipe := l.client.Pipeline()
	answers := c.fill(ctx, pipe)
	_, err := pipe.Exec(ctx)
	reply, replied := refused(err)
	switch {
	case replied && answers[0].Err() == nil && !answers[0].read:
		return c.shutOut(reply)
	case replied:
		err = nil // each answer says for itself
	}
	if waits := c.settle(answers); err == nil {
		err = waits
	}
	return err
}

// shutOut is for a server that answered, but let nobody in: the password is wrong, say. That passes only by somebody's
// doing, so all that is left fails.
func (c *publishing) shutOut(reply goredis.Error) error {
	if passing(reply) {
		return reply
	}
	for _, i := range c.left {
		c.fail(i, c.away(reply))
	}
	c.left = nil
	return reply
}

// fill puts PUBLISH commands for the first of what is left into pipe, as many as go at once.
func (c *publishing) fill(ctx context.Context, pipe goredis.Pipeliner) []answer {
	answers := make([]answer, min(len(c.left), pipelineEvents))
	args := make([]any, 0, 3*len(answers))
	buf, starts := c.p.buf[:0], make([]int, 0, len(answers)+1)
	for _, i := range c.left[:len(answers)] {
		starts = append(starts, len(buf))
		if buf = c.events[i].AppendEnvelope(buf); len(buf) > pipelineBytes {
			break
		}
	}
	answers, starts = answers[:len(starts)], append(starts, len(buf))
	var command, topic any = "publish", c.topic
	for n := range answers {
		args = append(args, command, topic, buf[starts[n]:starts[n+1]])
		answers[n].IntCmd = *goredis.NewIntCmd(ctx, args[3*n:3*n+3:3*n+3]...)
		_ = pipe.Process(ctx, &answers[n]) // only queues
	}
	c.p.buf = buf
	if cap(buf) > 2*pipelineBytes {
		c.p.buf = nil
	}
	return answers
}

// settle takes the answers to the first of what is left. An event counts as acknowledged only if all of its key's
// earlier ones do: what was not acknowledged is sent again, and the key's later ones have to come after it. It
// returns an error where the server asked to come back later.
func (c *publishing) settle(answers []answer) (wait error) {
	var held map[string]error // by key: the error of an event before; nil error where it will be sent again
	var again []int
	heard := -1 // by how many, the last that was answered
	for n := range answers {
		i, a := c.left[n], &answers[n]
		e := &c.events[i]
		before, isHeld := held[e.Key]
		reply, isReply := refused(a.Err())
		switch {
		case isHeld && before != nil:
			c.fail(i, before)
			continue
		case !isHeld && a.read:
			heard = int(a.Val())
			e.At, e.Heard = bus.Position{Topic: c.topic, Offset: -1}, heard
			continue
		case !isHeld && isReply && !passing(reply):
			before = c.away(reply)
			c.fail(i, before)
		case isReply && passing(reply):
			wait = reply
			again = append(again, i)
		default:
			again = append(again, i)
		}
		if held == nil {
			held = make(map[string]error)
		}
		held[e.Key] = before
	}
	c.left = append(again, c.left[len(answers):]...)
	c.failHeld(held)
	if heard >= 0 {
		c.p.listeners.published(c.topic, heard)
	}
	return wait
}

// failHeld fails what was not sent yet of keys of which an event was refused.
func (c *publishing) failHeld(held map[string]error) {
	if len(c.failed) == 0 {
		return
	}
	kept := c.left[:0]
	for _, i := range c.left {
		if err := held[c.events[i].Key]; err != nil {
			c.fail(i, err)
		} else {
			kept = append(kept, i)
		}
	}
	c.left = kept
}

// fail keeps the map for calls that need one.
func (c *publishing) fail(i int, err error) {
	if c.failed == nil {
		c.failed = make(map[int]error)
	}
	c.failed[i] = err
}
