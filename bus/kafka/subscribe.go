package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// errAnew ends a session whose consumer can't go on; the subscription starts another.
var errAnew = errors.New("the consumer failed for good")

// anewError is a failure of a consumer that another consumer may not have.
type anewError struct{ error }

// Unwrap lets errors.Is find errAnew, and the client's error.
func (e *anewError) Unwrap() []error { return []error{errAnew, e.error} }

// Subscribe implements bus.Subscriber. It is a row of sessions, of which mostly there is one.
func (c *connection) Subscribe(ctx context.Context, sub bus.Subscription, h bus.Handler) error {
	if err := c.calls.Enter(); err != nil {
		return err
	}
	defer c.calls.Leave()
	for _, name := range sub.Topics {
		if err := checkName(name); err != nil {
			return fmt.Errorf("bus: subscribe: %w", err)
		}
	}
	ctx, cancel := c.calls.Bound(ctx)
	defer cancel()
	sub.Topics = slices.Compact(slices.Sorted(slices.Values(sub.Topics)))
	if sub.MaxBatch == 0 {
		sub.MaxBatch = bus.DefaultMaxBatch
	}
	ready := newReadiness(sub.OnReady)
	defer ready.over()
	for left := consumersLeft; ; {
		err := c.session(ctx, sub, h, ready)
		switch {
		case errors.Is(err, errUnassigned) && ctx.Err() == nil:
			ready.over()
			c.log.WarnContext(ctx, "a member of the consumer group was thrown out, and given no partition since; it has left, and "+
				"a new one joins: some partitions may have been read by nobody, unless there are more members than partitions",
				"group", sub.Group, "waited", c.backWithin)
		case errors.Is(err, errAnew) && left > 0:
			left--
			ready.over()
			c.log.ErrorContext(ctx, "a consumer failed for good; there will be another", "group", sub.Group, "err", err)
			if !sleep(ctx, time.Second) {
				return c.ended(ctx, nil)
			}
		default:
			return c.ended(ctx, err)
		}
	}
}

// consumersLeft is how many consumers a subscription leaves behind before it ends with the error of the next.
// librdkafka refuses to close a consumer that failed for good, and the Go client's Close would ask it for ever, so
// its threads stay as long as the process. The causes are rare, and few of them go away by themselves: a group
// that is full, an assignor or a protocol that a broker no longer has.
const consumersLeft = 3

// ended makes the end by the caller's own wish none of an error.
func (c *connection) ended(ctx context.Context, err error) error {
	if ctx.Err() == nil || bus.IsPermanent(err) {
		return err
	}
	if c.calls.Ended() {
		return bus.ErrClosed
	}
	return nil
}

// session is a membership in a consumer group, from joining to leaving. Four goroutines make it up:
//
//   - the poller, which is Subscribe's own: the only one that polls the consumer, changes what it reads, and is
//     called back by the group. It decides, and the others send it commands;
//   - the worker, which has one delivery after the other handled, from what the poller has read ahead;
//   - the resolver, which asks broker and reader where partitions are to be read on;
//   - the committer, which tells the broker how far the worker has come.
//
// So a handler that takes its time, a database that is away and a broker that doesn't answer each hold up one of
// them, and the group is served all the same.
type session struct {
	c       *connection
	sub     bus.Subscription
	handler bus.Handler
	ready   *readiness
	log     *slog.Logger

	ctx   context.Context // ends with the session
	stop  context.CancelFunc
	once  sync.Once
	err   error // why it failed; to be read when all goroutines have ended
	kc    *ck.Consumer
	logs  *librdkafkaLogs
	queue *readAhead // between poller and worker

	commands chan func() // for the poller to run, between two polls
	resolver *resolver
	commits  chan chan struct{} // asks the committer for a commit at once; closed when it is to end

	// What only the poller touches.
	parts   map[key]*part
	last    *part  // of the message before, for they come in runs
	filling *batch // nil between runs
	beats   int    // heartbeats before this membership, see statistics
	lost    bool   // thrown out, which the callback is still to say; see incremental
	absence absence
	paused  bool // librdkafka was told not to fetch
	closing bool // the consumer is being closed: the group is answered, and nothing else happens
}

// key names a partition, whatever log is behind it at the moment.
type key struct {
	topic     string
	partition int32
}

// session joins the group and delivers until ctx ends or the session fails.
func (c *connection) session(ctx context.Context, sub bus.Subscription, h bus.Handler, ready *readiness) error {
	protocol, err := c.prepare(ctx, sub)
	if err != nil {
		return err
	}
	s := &session{
		c: c, sub: sub, handler: h, ready: ready,
		log:      c.log.With("group", sub.Group),
		queue:    newReadAhead(sub.MaxBatch),
		commands: make(chan func(), 16),
		commits:  make(chan chan struct{}),
		parts:    make(map[key]*part),
		absence:  absence{within: c.backWithin},
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	s.resolver = newResolver(s)
	if err := s.join(protocol); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "joining the consumer group", "topics", sub.Topics,
		"group.protocol", protocol, "start", sub.Start.String())
	return s.run()
}

// join makes the consumer, which joins the group by and by, while it is polled.
func (s *session) join(protocol string) (err error) {
	s.logs = logsOf(s.c.throttle)
	if s.kc, err = ck.NewConsumer(s.c.set.consumer(s.sub.Group, protocol, s.logs.ch)); err != nil {
		s.logs.stop()
		return fmt.Errorf("bus: consumer: %w", err)
	}
	if err := s.kc.SubscribeTopics(s.sub.Topics, s.rebalance); err != nil {
		return errors.Join(fmt.Errorf("bus: subscribe to %v: %w", s.sub.Topics, err), s.closeConsumer())
	}
	return nil
}

// run owns every goroutine of the session. The order of the end matters: first nobody polls any more, then the
// delivery in hand gets its time, then what was handled is committed, and only then the consumer is closed, which
// tells the group.
func (s *session) run() error {
	var helpers, committer sync.WaitGroup
	helpers.Go(s.work)
	helpers.Go(s.resolver.run)
	committer.Go(s.commitLoop)

	s.poll()

	s.stop()
	s.queue.close().waitOver(s.c.set.drain, errEnding)
	helpers.Wait()
	s.leave(&committer)
	return s.err
}

// fail ends the session with an error.
func (s *session) fail(err error) {
	s.once.Do(func() { s.err = err })
	s.stop()
}

// command has the poller run f, unless the session ends. It can wait for as long as the poller waits for a
// handler, so nobody may hold a lock over it.
func (s *session) command(f func()) {
	select {
	case s.commands <- f:
	case <-s.ctx.Done():
	}
}

// leaveTime bounds how long leaving the group may hold up the end of Subscribe.
const leaveTime = 5 * time.Second

// leave commits what was handled, leaves the group and closes the consumer. Where the broker is away that may take
// long; then it goes on behind Subscribe's back, and Close of the bus waits for it.
func (s *session) leave(committer *sync.WaitGroup) {
	s.closing = true
	if errors.Is(s.err, errAnew) { // see consumersLeft
		close(s.commits)
		committer.Wait()
		return
	}
	done := make(chan struct{})
	s.c.leaving.Go(func() {
		defer close(done)
		close(s.commits)
		committer.Wait()
		if err := s.closeConsumer(); err != nil {
			s.log.Warn("a consumer can't be closed", "err", err)
		}
	})
	timer := time.NewTimer(leaveTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.log.Warn("leaving the consumer group takes long; it goes on in the background")
	}
}

// closeConsumer may be called when nobody uses the consumer any more. It calls the rebalance callback a last time.
func (s *session) closeConsumer() error {
	defer s.logs.stop()
	return s.kc.Close()
}
