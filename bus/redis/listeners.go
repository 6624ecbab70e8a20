package redis

import (
	"context"
	"log/slog"
	"maps"
	"time"
)

// How long publishing waits after an outage for those who listened before it, and how often it asks for them.
const (
	listenersWait = 3 * time.Second
	listenersAsk  = 50 * time.Millisecond
)

// listeners knows how many heard the last event of each topic. An outage of the server ends for all at once, and what
// a relay has kept meanwhile would be out within a moment, before any subscriber is back: so the first publish to a
// topic waits for as many as there were. It belongs to whoever has the publisher's turn.
type listeners struct {
	log      *slog.Logger
	heard    map[string]int // by topic: how many heard the last event; topics that nobody heard are not in it
	awaited  map[string]int // what heard was before the outage, of topics that were not waited for yet
	until    time.Time      // when waiting ends; zero until the server has answered after the outage
	answered bool           // an event was, since the last outage
}

func newListeners(log *slog.Logger) *listeners {
	return &listeners{log: log, heard: make(map[string]int)}
}

// connected says that there is a new link. Where nothing was published over the one before, the outage is still the
// same, and so is the end of waiting: a call that gives up must not have the next one wait anew.
func (l *listeners) connected() {
	if l.answered {
		l.awaited, l.until, l.answered = maps.Clone(l.heard), time.Time{}, false
	}
}

// alive says that the server answers.
func (l *listeners) alive() {
	if l.until.IsZero() {
		l.until = time.Now().Add(listenersWait)
	}
}

// published notes how many heard the last event.
func (l *listeners) published(topic string, heard int) {
	l.alive()
	l.answered = true
	if heard == 0 {
		delete(l.heard, topic)
	} else {
		l.heard[topic] = heard
	}
}

// await waits until as many listen to topic as before an outage, if there was one. Where the server doesn't let us ask,
// it doesn't wait. An error means that the link is of no use any more.
func (l *listeners) await(ctx context.Context, to *link, topic string) error {
	want, ok := l.awaited[topic]
	if !ok {
		return nil
	}
	ticks := time.NewTicker(listenersAsk)
	defer ticks.Stop()
	for asked := 0; ; asked++ {
		counts, err := to.client.PubSubNumSub(ctx, topic).Result()
		reply, replied := refused(err)
		switch have := int(counts[topic]); {
		case replied && !passing(reply) && !to.closed():
			l.log.Warn("redis: can't ask who listens, and doesn't wait for them after an outage", "topic", topic, "err", err)
		case err != nil:
			return err
		case have < want && l.waits():
			if err := tick(ctx, ticks); err != nil {
				return err
			}
			continue
		case have < want:
			l.log.Warn("redis: not all who listened before the outage are back", "topic", topic, "before", want, "now", have)
		case asked > 0:
			l.log.Info("redis: those who listened before the outage are back", "topic", topic, "listen", have)
		}
		delete(l.awaited, topic)
		return nil
	}
}

// waits reports whether there is time left for waiting.
func (l *listeners) waits() bool {
	l.alive()
	return time.Now().Before(l.until)
}

// tick waits for the next tick; its error is what ended ctx.
func tick(ctx context.Context, ticks *time.Ticker) error {
	select {
	case <-ticks.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
