package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// beats knows when the highest number of each stream is to be repeated. It is of one leadership: the next one begins
// with a heartbeat on every stream that it publishes nothing on.
type beats struct {
	every time.Duration
	last  map[streamKey]time.Time // when this relay last published on a stream, or tried to
	due   time.Time               // no heartbeat is before then; zero at first
}

// newBeats is for a relay that begins to lead.
func newBeats(every time.Duration) *beats {
	return &beats{every: every, last: make(map[streamKey]time.Time)}
}

// published takes note of what was published, or tried.
func (b *beats) published(topic string, events []bus.Event) {
	now, source := time.Now(), ""
	for i := range events {
		if i == 0 || events[i].Source != source {
			source = events[i].Source
			b.last[streamKey{topic, source}] = now
		}
	}
}

// quiet returns the streams on which nothing was published for long enough, and notes when the next one will be.
func (b *beats) quiet(streams []Stream, now time.Time) (quiet []Stream) {
	b.due = now.Add(b.every)
	for _, s := range streams {
		if next := b.last[streamKey{s.Topic, s.Source}].Add(b.every); !next.After(now) {
			quiet = append(quiet, s)
		} else if next.Before(b.due) {
			b.due = next
		}
	}
	return quiet
}

// numbers reports whether the relay numbers what it publishes.
func (r *relay) numbers() bool { return !r.hasLog }

// untilBeat is how long the relay may be idle.
func (r *relay) untilBeat(now time.Time) (left time.Duration, some bool) {
	if !r.numbers() {
		return 0, false
	}
	return max(0, r.beats.due.Sub(now)), true
}

// beat repeats the highest number of each stream on which nothing was published for a while. Call it when nothing can
// be sent; a stream that is held back is left out, and keeps no other from being told of. A heartbeat that doesn't get through is not worth a line in the log, for the next one says as
// much; an error means that the bus is closed.
func (r *relay) beat(ctx context.Context) error {
	now := time.Now()
	if left, some := r.untilBeat(now); !some || left > 0 {
		return nil
	}
	streams, err := r.readSettled(ctx)
	if err != nil {
		r.log.DebugContext(ctx, "outbox: no heartbeats, for the streams can't be read", "err", err)
	}
	byTopic := make(map[string][]bus.Event)
	for _, s := range r.beats.quiet(streams, now) {
		e, err := bus.Heartbeat(s).Event()
		if err != nil {
			return nil // there are no random numbers: tried again as any other
		}
		byTopic[s.Topic] = append(byTopic[s.Topic], e)
	}
	for topic, events := range byTopic {
		if err := r.publishBeats(ctx, topic, events); errors.Is(err, bus.ErrClosed) {
			return err
		}
	}
	return nil
}

// publishBeats publishes the heartbeats of a topic, and gives up soon: events may come meanwhile.
func (r *relay) publishBeats(ctx context.Context, topic string, events []bus.Event) error {
	pctx, cancel := context.WithTimeout(ctx, r.pace.partly)
	defer cancel()
	err := r.bus.Publish(pctx, topic, events...)
	crashpoint.Pass("outbox.9a")
	r.beats.published(topic, events)
	if err != nil {
		r.log.DebugContext(ctx, "outbox: heartbeats could not be published", "topic", topic, "err", err)
	}
	return err
}

// settledQuery gives the streams of which all numbers that were given out are those of events that were acknowledged,
// if the lease is held by $1: a heartbeat must not overtake what it counts. What is unsent is gone through once, not
// once for each stream.
const settledQuery = `SELECT topic, source, log, seq FROM tidings_outbox_stream
WHERE (topic, source) NOT IN (` + unsettled + `)
	AND EXISTS (SELECT 1 FROM tidings_outbox_relay WHERE id = 1 AND holder = $1)
ORDER BY topic, source`

// readSettled reads the streams that may be told of.
func (r *relay) readSettled(ctx context.Context) (streams []Stream, err error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, settledQuery, r.holder)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s Stream
		if err := rows.Scan(&s.Topic, &s.Source, &s.SeqLog, &s.Seq); err != nil {
			return nil, err
		}
		streams = append(streams, s)
	}
	return streams, rows.Err()
}
