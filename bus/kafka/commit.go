package kafka

import (
	"errors"
	"log/slog"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// commitEvery is how far behind the offsets at the broker may be. With Resume they are only there to be looked at;
// without it they are where the next member begins.
const commitEvery = time.Second

// commitTime bounds how long a commit may hold up a rebalance.
const commitTime = time.Second

// commitLoop tells the broker how far the group has come, until commits is closed. It is the only one to do so: a
// commit waits for its answer, which a broker that is away doesn't give.
func (s *session) commitLoop() {
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.commit()
		case asked, open := <-s.commits:
			s.commit()
			if !open {
				return
			}
			close(asked)
		}
	}
}

// commit is not needed for anything to be right, so it is not tried hard: a broker that is known to be away isn't
// asked, for the answer would be waited for, and the end of the subscription with it.
func (s *session) commit() {
	if !s.ready.reachable() {
		return
	}
	done := s.queue.settled()
	if len(done) == 0 {
		return
	}
	crashpoint.Pass("inbox.D10a")
	_, err := s.kc.CommitOffsets(offsetsOf(done))
	crashpoint.Pass("inbox.D10b")
	var e ck.Error
	switch {
	case err == nil:
	case errors.As(err, &e) && e.Code() == ck.ErrState:
		// They were taken away at this moment; their new reader commits.
	default:
		s.queue.unsettle()
		s.c.throttle.Log(slog.LevelDebug, "commit "+s.sub.Group, "offsets can't be committed", "group", s.sub.Group, "err", err)
	}
}

// commitNow commits before partitions are given up, so that a member without Resume repeats nothing.
func (s *session) commitNow() {
	timer := time.NewTimer(commitTime)
	defer timer.Stop()
	done := make(chan struct{})
	select {
	case s.commits <- done:
	case <-timer.C:
		return
	}
	select {
	case <-done:
	case <-timer.C:
	}
}

// offsetsOf makes the client's list of positions.
func offsetsOf(done map[*part]int64) []ck.TopicPartition {
	list := make([]ck.TopicPartition, 0, len(done))
	for p, next := range done {
		list = append(list, p.at(ck.Offset(next)))
	}
	return list
}
