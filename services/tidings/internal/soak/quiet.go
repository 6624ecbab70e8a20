package soak

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// quietTime is how long all may take to come to rest after everything is healed: a mail that a mailer was sending when it
// was killed waits for its lease, one that failed some times for its next try, and an inbox for missing versions a minute.
const quietTime = 100 * time.Second

// awaitQuiet waits until the owner has told everything, and every reader has read all that there is in the log and
// performed what follows from it.
func (r *rig) awaitQuiet(ctx context.Context) error {
	return until(ctx, quietTime, func(ctx context.Context) error {
		if n, err := one(ctx, r.dbs[users].DB, `SELECT COUNT(*) FROM tidings_outbox_unsent`); err != nil || n > 0 {
			return orElse(err, "%d events are still in the outbox", n)
		}
		ends, err := kadm.NewClient(r.client).ListEndOffsets(ctx, r.topic)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return fmt.Errorf("end of the log: %w", err)
		}
		for _, service := range readers {
			if err := r.isQuiet(ctx, service, ends); err != nil {
				return fmt.Errorf("%s: %w", service, err)
			}
		}
		return nil
	})
}

// orElse is err, or an error of this text.
func orElse(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

// isQuiet returns an error if a reader has not read to the end, or has something left to do.
func (r *rig) isQuiet(ctx context.Context, service string, ends kadm.ListedOffsets) error {
	db := r.dbs[service].DB
	at := map[int32]int64{}
	err := each(ctx, db, `SELECT part, next FROM tidings_inbox_position`, func(scan func(...any) error) error {
		var part int32
		var next int64
		err := scan(&part, &next)
		at[part] = next
		return err
	})
	if err != nil {
		return err
	}
	for part, end := range ends[r.topic] {
		if at[part] != end.Offset {
			return fmt.Errorf("it has read partition %d up to %d of %d", part, at[part], end.Offset)
		}
	}
	for _, table := range []string{"waiting", "queue"} {
		if n, err := one(ctx, db, `SELECT COUNT(*) FROM tidings_inbox_`+table); err != nil || n > 0 {
			return orElse(err, "%d rows in its table %s", n, table)
		}
	}
	return nil
}
