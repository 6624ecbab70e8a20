package kafka

import (
	"encoding/json"
	"sync"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// readiness tells a subscription whether it stands: the group has been joined, and a broker can be reached.
type readiness struct {
	mu   sync.Mutex // held while tell runs, so that calls don't overlap
	tell func(bool)
	in   bool
	up   bool
	was  bool
}

// newReadiness begins outside of the group, with the brokers given the benefit of the doubt. tell may be nil.
func newReadiness(tell func(bool)) *readiness {
	if tell == nil {
		tell = func(bool) {}
	}
	return &readiness{tell: tell, up: true}
}

// joined says whether this member is in the group.
func (r *readiness) joined(in bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in = in
	r.report()
}

// brokers says whether a broker can be reached.
func (r *readiness) brokers(up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = up
	r.report()
}

// reachable reports whether a broker can be reached, as far as is known.
func (r *readiness) reachable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up
}

// over says that the membership has ended.
func (r *readiness) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in, r.up = false, true
	r.report()
}

// stands reports what was told last.
func (r *readiness) stands() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.was
}

// report tells when something has changed. The caller has the lock.
func (r *readiness) report() {
	if now := r.in && r.up; now != r.was {
		r.was = now
		r.tell(now)
	}
}

// vitals is what matters of librdkafka's statistics.
type vitals struct {
	Group struct {
		State     string `json:"state"`
		JoinState string `json:"join_state"`
	} `json:"cgrp"`
	Brokers map[string]struct {
		Answers  int            `json:"rx"`
		Requests map[string]int `json:"req"`
	} `json:"brokers"`
}

// coordinator is librdkafka's name for its connection to the broker that leads the group.
const coordinator = "GroupCoordinator"

// statistics tells what no event does: that a broker which was away is back (on a quiet topic librdkafka just
// connects again), and that a member has joined the group without being given a partition.
func (s *session) statistics(e *ck.Stats) {
	if s.ready.stands() {
		return
	}
	var v vitals
	if err := json.Unmarshal([]byte(e.String()), &v); err != nil || v.Group.State != "up" {
		return
	}
	s.c.throttle.again("consume")
	s.ready.brokers(true)
	if v.Group.JoinState == "steady" {
		s.ready.joined(true)
		return
	}
	// A member of the newer protocol that has no partition stays in "init". But it has heartbeats, of which the
	// second follows the answer to the first, by which it was let in.
	switch n := v.heartbeats(); {
	case s.beats == beatsUnknown:
		s.beats = n
	case n >= s.beats+2:
		s.ready.joined(true)
	}
}

// beatsUnknown is the number of heartbeats up to the moment when a member was thrown out.
const beatsUnknown = -1

// heartbeats counts what the group's coordinator has answered. Of what is asked of it, only the heartbeats are not
// listed by name.
func (v vitals) heartbeats() int {
	c := v.Brokers[coordinator]
	n := c.Answers
	for _, named := range c.Requests {
		n -= named
	}
	return n
}
