package outbox

import (
	"context"
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
	// LastSent is when that number last grew; zero before the first.
	LastSent time.Time
	// Failed is the number of rows that can't be published, ever; they are not among the pending ones.
	Failed int64
	// FailedError says why the newest of them can't; empty when there is none.
	FailedError string
	// Relaying reports whether some process holds the lease of the relay. A process that was killed holds it for
	// three seconds more.
	Relaying bool
}

// All in one statement, so that the numbers are of one moment.
const statusQuery = `SELECT
	(SELECT count(*) FROM tidings_outbox_unsent),
	coalesce((SELECT created FROM tidings_outbox WHERE position = (SELECT min(position) FROM tidings_outbox_unsent)), 0),
	(SELECT count(*) FROM tidings_outbox_failed),
	coalesce((SELECT error FROM tidings_outbox_failed ORDER BY position DESC LIMIT 1), ''),
	sent, last, holder, until
FROM tidings_outbox_relay WHERE id = 1`

// Status asks the database how the outbox stands, whichever process runs the relay.
func (o *Outbox) Status(ctx context.Context) (Status, error) {
	var s Status
	var oldest, last, until int64
	var holder string
	err := o.db.QueryRowContext(ctx, statusQuery).Scan(
		&s.Pending, &oldest, &s.Failed, &s.FailedError, &s.Sent, &last, &holder, &until)
	if err != nil {
		return Status{}, fmt.Errorf("outbox: status: %w", err)
	}
	s.Oldest, s.LastSent = fromMicro(oldest), fromMicro(last)
	s.Relaying = holder != "" && until > o.now().UnixMicro()
	return s, nil
}

// fromMicro reads a time of the tables; 0 is none.
func fromMicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
