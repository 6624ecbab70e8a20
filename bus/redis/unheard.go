package redis

import (
	"log/slog"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// unheard counts the events that nobody was listening to, and logs it when that begins and ends, and at most every
// tellAgain meanwhile.
type unheard struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	topics map[string]*deaf
}

// deaf is a topic that nobody listens to.
type deaf struct {
	events int // since nobody listens
	fresh  int // of those, not told yet
	told   time.Time
}

// tellAgain is how often it is told that still nobody listens.
const tellAgain = 10 * time.Second

func newUnheard(log *slog.Logger) *unheard {
	return &unheard{log: log, now: time.Now, topics: make(map[string]*deaf)}
}

// note takes what became of a call. Heartbeats and announcements tell whether somebody listens, but nobody misses them.
func (u *unheard) note(topic string, events []bus.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range events {
		e := &events[i]
		_, beat := e.Heartbeat()
		switch {
		case e.At.Topic == "":
		case e.Heard > 0:
			u.heard(topic)
		case !beat && e.Type != bus.TypeAnnouncement:
			u.missed(topic)
		}
	}
	if d := u.topics[topic]; d != nil && d.fresh > 0 && u.now().Sub(d.told) >= tellAgain {
		u.tell(topic, d)
	}
}

// missed counts an event.
func (u *unheard) missed(topic string) {
	d := u.topics[topic]
	if d == nil {
		d = &deaf{}
		u.topics[topic] = d
	}
	d.events++
	d.fresh++
}

// heard ends the silence, if there was one.
func (u *unheard) heard(topic string) {
	d := u.topics[topic]
	if d == nil {
		return
	}
	delete(u.topics, topic)
	u.log.Info("redis: somebody listens again", "topic", topic, "unheard", d.events)
}

// tell logs what was not told.
func (u *unheard) tell(topic string, d *deaf) {
	u.log.Warn("redis: published to nobody; these events are lost to all who are not listening",
		"topic", topic, "events", d.fresh, "unheard", d.events)
	d.fresh, d.told = 0, u.now()
}

// close tells what was kept back.
func (u *unheard) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for topic, d := range u.topics {
		if d.fresh > 0 {
			u.tell(topic, d)
		}
	}
}
