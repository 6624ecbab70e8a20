package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/tidings-dev/tidings/bus"
)

// Stream is what one source publishes on one topic, as far as it was numbered: see the package documentation.
type Stream struct {
	Topic  string
	Source string
	SeqLog string // the numbering's id: see [bus.Event]
	Seq    uint64 // the highest number that was given out; 0 before the first
}

// streamKey is what numbers are dense in.
type streamKey struct{ topic, source string }

func (k streamKey) compare(other streamKey) int {
	return cmp.Or(strings.Compare(k.topic, other.topic), strings.Compare(k.source, other.source))
}

// WithStream tells of a stream before its first event: on a bus without a log its subscribers then hear from the
// start, by a heartbeat with number 0, that nothing was published yet, and so know later that they missed the first
// events. Give it for each topic and source that the service publishes; with a log it changes nothing.
func WithStream(topic, source string) Option {
	return func(o *Outbox) { o.streams = append(o.streams, streamKey{topic, source}) }
}

// WithNewStream is WithStream for an owner that has just found that it has no key of the source, and never had one. The
// id of the numbering then begins with [bus.SeqLogFirst], and a consumer that hears it from the start knows of a key
// whose first version it missed. Where the stream is known, or something was ever added, it changes no more than WithStream does; and where
// a bus with a log is used before the first number was given out, the id is an ordinary one from then on.
func WithNewStream(topic, source string) Option {
	return func(o *Outbox) {
		if o.fresh == nil {
			o.fresh = make(map[streamKey]bool)
		}
		o.fresh[streamKey{topic, source}] = true
		WithStream(topic, source)(o)
	}
}

// checkStreams refuses a stream whose heartbeats no bus would take.
func checkStreams(streams []streamKey) error {
	for _, s := range streams {
		e, err := bus.Heartbeat{Topic: s.topic, Source: s.source, SeqLog: newSeqLog()}.Event()
		if err == nil {
			err = e.Validate()
		}
		if err == nil && s.topic == "" {
			err = fmt.Errorf("no topic")
		}
		if err != nil {
			return fmt.Errorf("stream %q of %q: %w", s.topic, s.source, err)
		}
	}
	return nil
}

// addStreams makes the rows of those streams that have none, in order, as replicas that start together all do.
func (o *Outbox) addStreams(ctx context.Context) error {
	if len(o.streams) == 0 {
		return nil
	}
	return o.w.InTx(ctx, func(ctx context.Context, tx Tx) error {
		var untouched bool
		if err := tx.QueryRowContext(ctx, untouchedQuery).Scan(&untouched); err != nil {
			return fmt.Errorf("look for events that were ever added: %w", err)
		}
		for _, s := range slices.SortedFunc(slices.Values(o.streams), streamKey.compare) {
			log := newSeqLog()
			if untouched && o.fresh[s] {
				log = firstSeqLog()
			}
			if _, _, err := takeNumbers(ctx, tx, s, log, 0); err != nil {
				return fmt.Errorf("stream %q of %q: %w", s.topic, s.source, err)
			}
		}
		return nil
	})
}

// untouchedQuery asks whether nothing was ever added. What was sent is purged, but counted for ever.
const untouchedQuery = `SELECT NOT EXISTS (SELECT 1 FROM tidings_outbox) AND NOT EXISTS (SELECT 1 FROM tidings_outbox_failed)
	AND NOT EXISTS (SELECT 1 FROM tidings_outbox_relay WHERE sent > 0)`

// takeNumbers takes the next n numbers of a stream, and returns the last one, and the id of the numbering: fresh where it
// begins. The stream's row is locked from here to the end of the transaction, and made where there is none.
func takeNumbers(ctx context.Context, tx Tx, s streamKey, fresh string, n int) (log string, last int64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO tidings_outbox_stream (topic, source, log, seq) VALUES ($1, $2, $3, $4)
		ON CONFLICT (topic, source) DO UPDATE SET seq = tidings_outbox_stream.seq + excluded.seq RETURNING log, seq`,
		s.topic, s.source, fresh, n).Scan(&log, &last)
	return log, last, err
}

// newSeqLog makes an id for a numbering: 26 characters, as many as in seqLogRoom.
func newSeqLog() string { return strings.ToLower(rand.Text()) }

// firstSeqLog makes an id, as long, for the first numbering of a source. Nobody guesses it either.
func firstSeqLog() string { return (bus.SeqLogFirst + newSeqLog())[:len(seqLogRoom)] }

// seqLogRoom stands for the id of a numbering while an event's size is looked at.
const seqLogRoom = "00000000000000000000000000"
