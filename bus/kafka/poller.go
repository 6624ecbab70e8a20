package kafka

import (
	"log/slog"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	// pollTime is how long the poller sits in librdkafka at most, and so how long a command waits at most.
	pollTime = 20 * time.Millisecond
	// pauseAfter is how long the poller may wait for the handler before it pauses the partitions, to be able to
	// serve the group meanwhile. Pausing throws away what was fetched, so it is for long waits only.
	pauseAfter = 250 * time.Millisecond
)

// poll fetches until the session ends. Nobody else polls the consumer, and nobody does so once it is being closed.
func (s *session) poll() {
	for s.ctx.Err() == nil {
		s.runCommands()
		s.gather()
		s.makeRoom()
		s.checkAbsence()
	}
}

// runCommands runs what other goroutines want done here.
func (s *session) runCommands() {
	for {
		select {
		case f := <-s.commands:
			f()
		default:
			return
		}
	}
}

// gather takes what is ready, up to a batch, and hands it to the worker. It waits only when nothing is: latency is
// low when the topic is quiet, and batches grow by themselves when it is not.
func (s *session) gather() {
	timeout := int(pollTime.Milliseconds())
	for ; s.filling == nil || !s.filling.full(s.sub.MaxBatch); timeout = 0 {
		switch e := s.kc.Poll(timeout).(type) {
		case *ck.Message:
			s.message(e)
		case ck.PartitionEOF:
			s.atEnd(e)
		case ck.Error:
			s.trouble(e)
		case *ck.Stats:
			s.statistics(e)
		case nil: // nothing more is ready, or the group was served
			s.handOver()
			return
		}
	}
	s.handOver()
}

// handOver gives the worker what was gathered. Decoding is done where there is time for it: here, while the
// handler is the slower side, else by the worker, so that it runs beside the polling.
func (s *session) handOver() {
	if s.filling != nil {
		if s.queue.busy() {
			s.filling.decode()
		}
		s.queue.put(s.filling)
		s.filling = nil
	}
}

// fill returns the batch that is being filled.
func (s *session) fill() *batch {
	if s.filling == nil {
		s.filling = s.queue.open()
	}
	return s.filling
}

// message takes a record. What was fetched for a partition that is no longer read, or was read already, is passed
// over: librdkafka's own queue may hold it still.
func (s *session) message(m *ck.Message) {
	if err, ok := m.TopicPartition.Error.(ck.Error); ok {
		s.trouble(err)
		return
	}
	p := s.lookup(*m.TopicPartition.Topic, m.TopicPartition.Partition)
	offset := int64(m.TopicPartition.Offset)
	if p == nil || !p.assigned || offset < p.next {
		return
	}
	s.fill().add(p, m)
}

// atEnd moves over what no reader sees at the end of a partition: markers of transactions.
func (s *session) atEnd(e ck.PartitionEOF) {
	p := s.lookup(*e.Topic, e.Partition)
	if p == nil || !p.assigned || int64(e.Offset) <= p.next {
		return
	}
	s.fill().move(p, int64(e.Offset))
}

// lookup finds a partition of this member, nil when it is none.
func (s *session) lookup(topic string, partition int32) *part {
	if p := s.last; p != nil && p.pos.Partition == partition && p.pos.Topic == topic {
		return p
	}
	s.last = s.parts[key{topic, partition}]
	return s.last
}

// makeRoom waits while the handler is behind. When that takes long it pauses the partitions, so that polling can go
// on: the group is served by it, and a member that doesn't poll is thrown out.
func (s *session) makeRoom() {
	if s.paused {
		if !s.queue.full() {
			s.unpause()
		}
		return
	}
	if s.queue.full() && !s.queue.waitRoom(s.ctx, pauseAfter) && s.ctx.Err() == nil {
		s.pause()
	}
}

// pause stops fetching. librdkafka drops what it has fetched, and fetches it again from behind the last record that
// was polled.
func (s *session) pause() {
	s.paused = true
	if err := s.kc.Pause(s.reading()); err != nil {
		s.log.Warn("partitions can't be paused", "err", err)
	}
}

// unpause goes on fetching.
func (s *session) unpause() {
	s.paused = false
	if err := s.kc.Resume(s.reading()); err != nil {
		s.log.Warn("partitions can't be resumed", "err", err)
	}
}

// reading lists the partitions that librdkafka reads.
func (s *session) reading() []ck.TopicPartition {
	var list []ck.TopicPartition
	for _, p := range s.parts {
		if p.assigned {
			list = append(list, p.at(ck.OffsetInvalid))
		}
	}
	return list
}

// at writes a position as the client has it.
func (p *part) at(offset ck.Offset) ck.TopicPartition {
	return ck.TopicPartition{Topic: &p.pos.Topic, Partition: p.pos.Partition, Offset: offset}
}

// trouble takes an error that librdkafka reports. Most it gets over by itself.
func (s *session) trouble(err ck.Error) {
	switch {
	case err.IsFatal():
		s.ready.brokers(false) // nothing can be committed
		s.fail(&anewError{err})
	// auto.offset.reset is "error": the choice of another offset is ours.
	case err.Code() == ck.ErrAutoOffsetReset, err.Code() == ck.ErrOffsetOutOfRange:
		s.doubt()
	case err.Code() == ck.ErrAllBrokersDown:
		s.c.throttle.Log(slog.LevelWarn, "consume", "the broker is away; the subscription waits", "group", s.sub.Group, "err", err)
		s.ready.brokers(false)
	case err.Code() == ck.ErrUnknownTopicOrPart, err.Code() == ck.ErrUnknownTopic, err.Code() == ck.ErrUnknownTopicID:
		s.resolver.missing(err)
	default:
		s.c.throttle.Log(levelOfError(err), "consumer "+err.Code().String(), "consumer", "group", s.sub.Group, "err", err)
	}
}
