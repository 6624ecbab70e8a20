package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/tidings-dev/tidings/bus"
)

// retireTime bounds how long a producer that failed may take to say what became of each event that it holds.
const retireTime = 5 * time.Second

// producer is one librdkafka producer, which is used until it fails for good. All calls share it.
type producer struct {
	kp   *ck.Producer
	mode string // of the records: modeStructured or modeBinary
	logs *librdkafkaLogs
	log  *throttle

	calls sync.WaitGroup // Publish calls that use it
	gone  chan struct{}  // closed once it will say nothing more

	once  sync.Once
	cause error // why it was retired; set before gone is closed
}

// newProducer starts a producer; it connects by itself, whenever there is a broker.
func newProducer(s settings, log *throttle) (*producer, error) {
	logs := logsOf(log)
	kp, err := ck.NewProducer(s.producer(logs.ch))
	if err != nil {
		logs.stop()
		return nil, fmt.Errorf("producer: %w", err)
	}
	return &producer{kp: kp, mode: s.mode, logs: logs, log: log, gone: make(chan struct{})}, nil
}

// watch hears what concerns no single event, and returns a fatal error, or nil once the producer was closed.
func (p *producer) watch() error {
	for e := range p.kp.Events() {
		err, ok := e.(ck.Error)
		switch {
		case !ok:
		case err.IsFatal():
			return err
		case err.Code() == ck.ErrAllBrokersDown:
			p.log.Log(slog.LevelWarn, "publish", "the broker is away; what is published waits", "err", err)
		default:
			p.log.Log(levelOfError(err), "producer "+err.Code().String(), "producer", "err", err)
		}
	}
	return nil
}

// retire ends a producer, whether it failed or the bus is closed. It gives up what the producer still holds, lets its
// calls find out what became of their events, and closes it. It returns when all is gone. No further call may begin.
func (p *producer) retire(cause error) {
	p.once.Do(func() { p.close(cause) })
}

// close is retire, once. What is in flight may be stored all the same; its calls report it as not acknowledged.
func (p *producer) close(cause error) {
	p.cause = cause
	drained := make(chan struct{})
	go func() { // the channel is full after a thousand events, and closed by Close
		defer close(drained)
		for range p.kp.Events() {
		}
	}()
	if err := p.kp.Purge(ck.PurgeQueue | ck.PurgeInFlight | ck.PurgeNonBlocking); err != nil {
		p.log.Log(slog.LevelWarn, "purge", "a producer can't be purged", "err", err)
	}
	p.settle()
	close(p.gone)
	p.calls.Wait()
	p.kp.Close()
	<-drained
	p.logs.stop()
}

// settle waits until the producer has reported all that it holds.
func (p *producer) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), retireTime)
	defer cancel()
	for p.kp.Len() > 0 && sleep(ctx, time.Millisecond) {
	}
}

// A producer that has reported a fatal error never sends again. With enable.gapless.guarantee that is how librdkafka
// keeps a gap out of a partition, so it is nothing unusual: an event that the broker refuses is enough.

// producers holds the producer in use, makes it when it is first needed, and replaces one that failed for good.
type producers struct {
	set settings
	log *throttle

	mu      sync.Mutex
	now     *producer
	closed  bool
	workers sync.WaitGroup // a watcher a producer
}

// acquire returns the producer to use; call its calls.Done after.
func (ps *producers) acquire() (*producer, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed {
		return nil, bus.ErrClosed
	}
	if ps.now == nil {
		p, err := newProducer(ps.set, ps.log)
		if err != nil {
			return nil, err
		}
		ps.now = p
		ps.workers.Go(func() { ps.supervise(p) })
	}
	ps.now.calls.Add(1)
	return ps.now, nil
}

// supervise retires a producer that failed for good.
func (ps *producers) supervise(p *producer) {
	err := p.watch()
	if err == nil {
		return // closed by close
	}
	ps.log.Log(slog.LevelError, "fatal", "the producer failed for good; there will be another, and what this one held is reported as failed",
		"err", err)
	ps.drop(p)
	p.retire(err)
}

// drop takes p out of use, so that the next call gets another.
func (ps *producers) drop(p *producer) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.now == p {
		ps.now = nil
	}
}

// close retires the producer in use, and returns when that and all retired ones are gone.
func (ps *producers) close() {
	ps.mu.Lock()
	p := ps.now
	ps.now, ps.closed = nil, true
	ps.mu.Unlock()
	if p != nil {
		p.retire(bus.ErrClosed)
	}
	ps.workers.Wait()
}

// isQueueFull reports whether Produce refused an event only for now.
func isQueueFull(err error) bool {
	var e ck.Error
	return errors.As(err, &e) && e.Code() == ck.ErrQueueFull
}
