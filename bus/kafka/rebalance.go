package kafka

import (
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// rebalance serves the group. librdkafka calls it inside Poll, so on the poller's goroutine, or inside Close.
//
// It answers each assignment with an empty one, which tells librdkafka that the group has been heard; the
// partitions follow, each with its offset, once Resume has said where to read on. So a reader's database that takes
// its time holds up nobody.
func (s *session) rebalance(_ *ck.Consumer, e ck.Event) error {
	switch e := e.(type) {
	case ck.AssignedPartitions:
		s.assigned(e.Partitions)
	case ck.RevokedPartitions:
		s.revoked(e.Partitions)
	}
	return nil // the client ignores it
}

// assigned takes partitions that the group gives to this member. Nothing is read of them yet.
func (s *session) assigned(given []ck.TopicPartition) {
	s.incremental("assign", s.kc.IncrementalAssign, nil)
	if s.closing {
		return
	}
	parts := make([]*part, 0, len(given))
	for _, tp := range given {
		p := &part{}
		p.pos.Topic, p.pos.Partition = *tp.Topic, tp.Partition
		s.parts[key{p.pos.Topic, p.pos.Partition}] = p
		parts = append(parts, p)
	}
	s.last = nil
	if len(parts) > 0 {
		s.absence.end()
	}
	s.log.Info("partitions were assigned", "partitions", len(parts), "now", len(s.parts))
	s.resolver.ask(whyAssigned, parts)
	s.ready.joined(true)
}

// revoked gives partitions up once nothing of theirs is being handled: as long as this callback doesn't return, the
// group gives them to nobody else. A member that was thrown out has no such say, so what it handles is cut short.
func (s *session) revoked(taken []ck.TopicPartition) {
	parts := s.forget(taken)
	if s.closing {
		s.giveUp(parts)
		return
	}
	lost := s.lost || s.kc.AssignmentLost()
	grace := s.c.set.drain
	if lost { // another member may be reading them already
		grace = 0
		s.ready.joined(false)
		s.beats = beatsUnknown
	}
	s.resolver.left(parts)
	s.queue.void(parts).waitOver(grace, errRevoked)
	if !lost {
		s.commitNow()
	}
	s.queue.leave(parts)
	s.giveUp(parts)
	s.lost = false
	s.log.Info("partitions were taken away", "partitions", len(parts), "now", len(s.parts), "lost", lost)
	if lost {
		s.absence.begin(time.Now())
	}
}

// forget returns the partitions that are taken away, and what is polled of them from now on is dropped.
func (s *session) forget(taken []ck.TopicPartition) []*part {
	var parts []*part
	for _, tp := range taken {
		k := key{*tp.Topic, tp.Partition}
		if p := s.parts[k]; p != nil {
			parts = append(parts, p)
			delete(s.parts, k)
		}
	}
	s.last = nil
	return parts
}

// giveUp stops reading the partitions, and tells librdkafka that the group has been heard, even when none of them
// was read yet.
func (s *session) giveUp(parts []*part) {
	var list []ck.TopicPartition
	for _, p := range parts {
		if p.assigned {
			p.assigned = false
			list = append(list, p.at(ck.OffsetInvalid))
		}
	}
	s.incremental("unassign", s.kc.IncrementalUnassign, list)
}

// incremental changes what librdkafka reads, and reports whether it took the change. While the consumer is being
// closed it takes none and drops everything. Each change makes librdkafka forget that the partitions are lost, also
// when the callback that says so has yet to come.
func (s *session) incremental(what string, f func([]ck.TopicPartition) error, list []ck.TopicPartition) bool {
	s.lost = s.lost || s.kc.AssignmentLost()
	err := f(list)
	if err != nil && !s.closing {
		s.log.Warn("partitions can't be "+what+"ed", "partitions", len(list), "err", err)
	}
	return err == nil
}

// start reads the partitions from the offsets that were found for them. From now on what is read of them counts
// again.
func (s *session) start(found []found) {
	var list []ck.TopicPartition
	for _, f := range found {
		p := f.part
		if s.parts[key{p.pos.Topic, p.pos.Partition}] != p {
			continue // taken away meanwhile
		}
		s.stopReading(p)
		p.pos.Log = f.log
		if f.moved {
			p.next = f.next
			s.queue.leave([]*part{p}) // what was handled before says nothing any more
		}
		s.queue.renew(p)
		p.assigned = true
		list = append(list, p.at(ck.Offset(p.next)))
	}
	if len(list) == 0 || s.incremental("assign", s.kc.IncrementalAssign, list) {
		s.pauseAlso(list)
		return
	}
	// librdkafka has taken none of them.
	for _, f := range found {
		f.part.assigned = false
	}
	s.resolver.again(found)
}

// pauseAlso pauses partitions that were added while the others are paused.
func (s *session) pauseAlso(list []ck.TopicPartition) {
	if s.paused && len(list) > 0 {
		_ = s.kc.Pause(list) // unpaused with the others
	}
}

// stopReading takes p from librdkafka, for it to be given another offset. Seeking would do for a partition in good
// health, but not for one whose offset the log no longer holds.
func (s *session) stopReading(p *part) {
	if p.assigned {
		p.assigned = false
		s.incremental("unassign", s.kc.IncrementalUnassign, []ck.TopicPartition{p.at(ck.OffsetInvalid)})
	}
}

// reread asks again where to read on: the reader's own positions have moved.
func (s *session) reread(parts []*part) {
	var current []*part
	for _, p := range parts {
		if s.parts[key{p.pos.Topic, p.pos.Partition}] == p {
			s.stopReading(p)
			current = append(current, p)
		}
	}
	// An answer to a doubt may have let p be read on meanwhile.
	s.queue.void(current)
	s.resolver.ask(whyReread, current)
}

// doubt has every position checked against the log. librdkafka says that a partition's offset is gone, but not
// which one's.
func (s *session) doubt() {
	var parts []*part
	for _, p := range s.parts {
		if p.assigned {
			parts = append(parts, p)
		}
	}
	s.resolver.ask(whyDoubt, parts)
}
