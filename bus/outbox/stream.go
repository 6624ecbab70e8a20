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
		for _, s := range slices.SortedFunc(slices.Values(o.streams), streamKey.compare) {
			if _, _, err := takeNumbers(ctx, tx, s, 0); err != nil {
				return fmt.Errorf("stream %q of %q: %w", s.topic, s.source, err)
			}
		}
		return nil
	})
}

// takeNumbers takes the next n numbers of a stream, and returns the last one. The stream's row is locked from here to
// the end of the transaction, and made where there is none.
func takeNumbers(ctx context.Context, tx Tx, s streamKey, n int) (log string, last int64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO tidings_outbox_stream (topic, source, log, seq) VALUES ($1, $2, $3, $4)
		ON CONFLICT (topic, source) DO UPDATE SET seq = tidings_outbox_stream.seq + excluded.seq RETURNING log, seq`,
		s.topic, s.source, newSeqLog(), n).Scan(&log, &last)
	return log, last, err
}

// newSeqLog makes an id for a numbering: 26 characters, as many as in seqLogRoom.
func newSeqLog() string { return strings.ToLower(rand.Text()) }

// seqLogRoom stands for the id of a numbering while an event's size is looked at.
const seqLogRoom = "00000000000000000000000000"
