package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Status is how an outbox stands.
type Status struct {
	// Pending is the number of events that are committed and not yet known to be published.
	Pending int64
	// Oldest is when the first of the pending ones was added; zero when there is none.
	Oldest time.Time
	// Sent is the number of events that were ever published from here, those whose rows were purged included.
	Sent int64
	// Unheard is how many of these were published while nobody was listening, as far as the bus could say: one with a
	// log doesn't, for there it does not matter.
	Unheard int64
	// LastSent is when that number last grew; zero before the first.
	LastSent time.Time
	// Failed is the number of rows that can't be published, ever; they are not among the pending ones.
	Failed int64
	// FailedError says why the newest of them can't; empty when there is none.
	FailedError string
	// Lacking is the number of events that were sent and purged, and that a log was found to lack since: nothing here can
	// send them again. Of a log that was cut it counts offsets, so it may be a few too many.
	Lacking int64
	// Lacked is when that number last grew; zero before.
	Lacked time.Time
	// Streams are how far events have been numbered, in order of topic and source: those told of by WithStream, and
	// those that had an event on a bus without a log.
	Streams []Stream
	// Relaying reports whether some process holds the lease of the relay. A process that was killed holds it for
	// three seconds more.
	Relaying bool
}

// All in one statement, so that the numbers are of one moment: a row for each stream, or one where there is none.
const statusQuery = `SELECT
	(SELECT count(*) FROM tidings_outbox_unsent),
	coalesce((SELECT created FROM tidings_outbox WHERE position = (SELECT min(position) FROM tidings_outbox_unsent)), 0),
	(SELECT count(*) FROM tidings_outbox_failed),
	coalesce((SELECT error FROM tidings_outbox_failed ORDER BY position DESC LIMIT 1), ''),
	sent, unheard, last, lacking, lacked, holder, until,
	coalesce(topic, ''), coalesce(source, ''), coalesce(log, ''), coalesce(seq, 0)
FROM tidings_outbox_relay LEFT JOIN tidings_outbox_stream ON true WHERE id = 1 ORDER BY topic, source`

// Status asks the database how the outbox stands, whichever process runs the relay.
func (o *Outbox) Status(ctx context.Context) (Status, error) {
	rows, err := o.db.QueryContext(ctx, statusQuery)
	if err != nil {
		return Status{}, fmt.Errorf("outbox: status: %w", err)
	}
	defer rows.Close()
	var s Status
	for rows.Next() {
		if err := o.scanStatus(rows, &s); err != nil {
			return Status{}, fmt.Errorf("outbox: status: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return Status{}, fmt.Errorf("outbox: status: %w", err)
	}
	return s, nil
}

// scanStatus reads a row: the same in each but for the stream.
func (o *Outbox) scanStatus(rows *sql.Rows, s *Status) error {
	var oldest, last, lacked, until int64
	var holder string
	var of Stream
	err := rows.Scan(&s.Pending, &oldest, &s.Failed, &s.FailedError, &s.Sent, &s.Unheard, &last, &s.Lacking, &lacked, &holder, &until,
		&of.Topic, &of.Source, &of.SeqLog, &of.Seq)
	s.Oldest, s.LastSent, s.Lacked = fromMicro(oldest), fromMicro(last), fromMicro(lacked)
	s.Relaying = holder != "" && until > o.now().UnixMicro()
	if of.Topic != "" {
		s.Streams = append(s.Streams, of)
	}
	return err
}

// fromMicro reads a time of the tables; 0 is none.
func fromMicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
