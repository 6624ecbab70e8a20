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
//
// An outage is one of the server: it couldn't be reached, or it is another process than it was. A link of the publisher's
// own may end without one, and the subscribers' stand then: who is not there has left, and is not to be waited for.
type listeners struct {
	log     *slog.Logger
	heard   map[string]int // by topic: how many heard the last event; topics that nobody heard are not in it
	awaited map[string]int // what heard was before the outage, of topics that were not waited for yet
	until   time.Time      // when waiting ends; zero until the server has answered after the outage
	server  string         // which process answered last; "" where it doesn't say
	ended   bool           // the last link broke, and not by our own doing
}

func newListeners(log *slog.Logger) *listeners {
	return &listeners{log: log, heard: make(map[string]int)}
}

// outage says that the server is away. However long that is told, waiting begins anew with the next answer.
func (l *listeners) outage() { l.awaited, l.until = maps.Clone(l.heard), time.Time{} }

// broke says that the link has ended, and that it was not a caller who gave up.
func (l *listeners) broke() { l.ended = true }

// connected says that there is a new link, to which process. Where that isn't known, a link that broke counts as an
// outage. A call that gave up does not: the next one goes on waiting, and doesn't begin anew.
func (l *listeners) connected(server string) {
	if server != l.server || server == "" && l.ended {
		l.outage()
	}
	l.server, l.ended = server, false
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
