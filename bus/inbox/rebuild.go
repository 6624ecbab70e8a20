package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// ErrNotRebuilt is wrapped by the error of [Rebuild] for a group of histories or reactions.
var ErrNotRebuilt = errors.New("only a projection can be rebuilt: a history would lose what the log has dropped, and a reaction would be performed again for everybody")

// Rebuild has a projection begin again from nothing: one transaction calls empty, which removes the effects, and
// removes all that the inbox knows of the group: marks, what is parked, waiting or missing, and every count. Then the log
// is read again from its start. Nobody ever sees a part of it; until the log is read, the projection is not whole.
//
// A group with a route made by [After], or with [Every], is refused by an error that wraps [ErrNotRebuilt]: a reaction would
// be performed again for everything that ever happened, and a history would lose what the log has dropped. So would a
// projection whose log no longer holds what it was made of, which nobody can tell without the broker.
//
// Inside empty, tx is the transaction; its error takes everything back, and is wrapped. The records of what was
// discarded by hand stay. Otherwise it is as with [Rewind]: the service may run, no broker is asked, and it waits. On
// Postgres all rows are locked in the inbox's own order, before empty is called, so replicas wait for it, and go on
// from what it has left.
func Rebuild(ctx context.Context, db *sql.DB, group string, empty func(ctx context.Context, tx Tx) error) error {
	err := mend(ctx, db, group, func(ctx context.Context, tx Tx, _ []bus.Position, d sqldb.Dialect) error {
		if err := refuseOthers(ctx, tx, group); err != nil {
			return err
		}
		if err := lockAll(ctx, tx, group, d.ForUpdate()); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		for _, text := range forget {
			if _, err := tx.ExecContext(ctx, text, group); err != nil {
				return err
			}
		}
		// The positions are locked, so nothing has been taken in since; and what was parked is gone, so nothing will be.
		if err := empty(ctx, tx); err != nil {
			return fmt.Errorf("empty: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("inbox: rebuild group %q: %w", group, err)
	}
	return nil
}

// refuseOthers asks what kind of handlers the group has, which the service writes down when it starts.
func refuseOthers(ctx context.Context, tx Tx, group string) error {
	const text = `SELECT EXISTS (SELECT 1 FROM tidings_inbox_group WHERE grp = $1 AND history = 1)`
	var every bool
	err := tx.QueryRowContext(ctx, text, group).Scan(&every)
	if err == nil && every {
		err = ErrNotRebuilt
	}
	return err
}

// ofGroup are the numbers of the sources of group $1.
const ofGroup = `(SELECT id FROM tidings_inbox_source WHERE grp = $1)`

// lockAll takes the rows that replicas lock, in their order: after the positions the numberings, what waits, the marks,
// what is parked, each in the order of its key. Statements that delete take them in whatever order they find them.
func lockAll(ctx context.Context, tx Tx, group, forUpdate string) error {
	if forUpdate == "" {
		return nil
	}
	for _, rows := range [...]string{
		`SELECT id FROM tidings_inbox_stream WHERE grp = $1 ORDER BY topic, source, log`,
		`SELECT 1 FROM tidings_inbox_waiting WHERE source IN ` + ofGroup + ` ORDER BY source, key, version`,
		`SELECT 1 FROM tidings_inbox_mark WHERE source IN ` + ofGroup + ` ORDER BY source, key`,
		`SELECT 1 FROM tidings_inbox_parked WHERE grp = $1 ORDER BY source, key, version, id`,
	} {
		var n int64
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM (`+rows+forUpdate+`) AS locked`, group).Scan(&n); err != nil {
			return err
		}
	}
	return nil
}

// forget removes what is known of group $1. The numbers of its sources stay, for inboxes that run remember them; and
// positions stay as rows, for the log's start is to be read whatever the start of a new group is.
var forget = [...]string{
	`DELETE FROM tidings_inbox_missed WHERE stream IN (SELECT id FROM tidings_inbox_stream WHERE grp = $1)`,
	`DELETE FROM tidings_inbox_stream WHERE grp = $1`,
	`DELETE FROM tidings_inbox_waiting WHERE source IN ` + ofGroup,
	`DELETE FROM tidings_inbox_mark WHERE source IN ` + ofGroup,
	`DELETE FROM tidings_inbox_hole WHERE source IN ` + ofGroup,
	`DELETE FROM tidings_inbox_done WHERE source IN ` + ofGroup,
	`DELETE FROM tidings_inbox_parked WHERE grp = $1`,
	`DELETE FROM tidings_inbox_pace WHERE grp = $1`,
	`UPDATE tidings_inbox_position SET next = -1, whole = (1 = 0) WHERE grp = $1`,
	`DELETE FROM tidings_inbox_counter WHERE grp = $1`,
	`DELETE FROM tidings_inbox_ignored WHERE grp = $1`,
}
