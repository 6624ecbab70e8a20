package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// What [Rewind], [Rebuild] and [Positions] refuse; test with [errors.Is].
var (
	// ErrNoLog is wrapped for a group that has read from a bus without a log: there is nothing to read again.
	ErrNoLog = errors.New("the bus of this group keeps no log, so there is nothing to be read again")
	// ErrNoGroup is wrapped for a group that has read nothing into this database.
	ErrNoGroup = errors.New("this group has read nothing into this database")
)

// FromStart is an Offset that stands for the oldest event that a log holds, wherever that is when it is read.
const FromStart = -1

// Move is a position that was put back.
type Move struct {
	bus.Position       // Offset: where the group would have read on
	To           int64 // where it reads again; FromStart for the log's start
}

// Rewind has a group read its log again from earlier positions: those given, or the start of the log in every partition
// where none is. Of a position, Partition and Offset count, which may be [FromStart]; an empty Topic is the group's only
// one, and Log, where set, must be the one that the group reads. Partitions that are not named stay where they are.
//
// Marks still discard what was done, so reading again changes nothing that is there. It fills in what is missing
// together with its mark: rows that somebody removed, or a part of the database that was put back. What a position says
// is in the log, and what the log has dropped meanwhile is counted as lost when it is come to.
//
// A move forward is refused, for it would leave events out, and then nothing is moved. The service may run, also as
// several replicas: those that read find out within seconds, and go there. No broker is asked. It waits for what is
// being stored, and for as long as the database has it wait.
//
// The error wraps [ErrNoLog] or [ErrNoGroup] where that is why.
func Rewind(ctx context.Context, db *sql.DB, group string, to ...bus.Position) ([]Move, error) {
	var moves []Move
	err := mend(ctx, db, group, func(ctx context.Context, tx Tx, rows []bus.Position, _ sqldb.Dialect) (err error) {
		if moves, err = planMoves(rows, to); err != nil {
			return err
		}
		for _, m := range moves {
			const text = `UPDATE tidings_inbox_position SET next = $1 WHERE grp = $2 AND topic = $3 AND part = $4`
			if err := one(tx.ExecContext(ctx, text, m.To, group, m.Topic, m.Partition)); err != nil {
				return fmt.Errorf("%s/%d: %w", m.Topic, m.Partition, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("inbox: rewind group %q: %w", group, err)
	}
	return moves, nil
}

// Positions reads where a group reads on in each partition, in order of topic and partition, from the database of a
// service that may run or not. An Offset that is [FromStart] says that a rewind has not been come to yet. The error
// wraps [ErrNoLog] or [ErrNoGroup] where there are none.
func Positions(ctx context.Context, db *sql.DB, group string) ([]bus.Position, error) {
	_, err := existing(ctx, db)
	var rows []bus.Position
	if err == nil {
		rows, err = positions(ctx, db, group, "")
	}
	if err != nil {
		return nil, fmt.Errorf("inbox: positions of group %q: %w", group, err)
	}
	return rows, nil
}

// existing makes a writer for a database that has an inbox's tables, as this program knows them. It makes none.
func existing(ctx context.Context, db *sql.DB) (*sqldb.Writer, error) {
	w, err := sqldb.Open(ctx, db)
	if err != nil {
		return nil, err
	}
	return w, checkVersion(ctx, db, w.Dialect())
}

// mend runs fn in a transaction that has the group's positions, locked: no delivery is taken in before it ends.
func mend(ctx context.Context, db *sql.DB, group string, fn func(ctx context.Context, tx Tx, rows []bus.Position, d sqldb.Dialect) error) error {
	w, err := existing(ctx, db)
	if err != nil {
		return err
	}
	return w.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		rows, err := positions(ctx, tx, group, w.Dialect().ForUpdate())
		if err != nil {
			return err
		}
		return fn(ctx, tx, rows, w.Dialect())
	})
}

// positions reads the positions of a group, in the order in which they are locked, or says why there are none.
func positions(ctx context.Context, q querier, group, forUpdate string) (rows []bus.Position, err error) {
	const text = `SELECT topic, part, log, next FROM tidings_inbox_position WHERE grp = $1 ORDER BY topic, part`
	err = query(ctx, q, func(row scanner) error {
		var p bus.Position
		err := row.Scan(&p.Topic, &p.Partition, &p.Log, &p.Offset)
		rows = append(rows, p)
		return err
	}, text+forUpdate, group)
	if err != nil || len(rows) > 0 {
		return rows, err
	}
	const streams = `SELECT EXISTS (SELECT 1 FROM tidings_inbox_stream WHERE grp = $1)`
	var hears bool
	switch err := q.QueryRowContext(ctx, streams, group).Scan(&hears); {
	case err != nil:
		return nil, err
	case hears:
		return nil, ErrNoLog
	}
	return nil, ErrNoGroup
}

// planMoves says which of the positions move, and where to.
func planMoves(rows, to []bus.Position) ([]Move, error) {
	if len(to) == 0 {
		for _, r := range rows {
			to = append(to, bus.Position{Topic: r.Topic, Partition: r.Partition, Offset: FromStart})
		}
	}
	var moves []Move
	var faults []error
	named := make(map[topicPart]bool)
	for _, t := range to {
		row, err := positionOf(rows, t)
		at := topicPart{row.Topic, row.Partition}
		switch {
		case err == nil && named[at]:
			err = fmt.Errorf("%s/%d is named twice", row.Topic, row.Partition)
		case err == nil && t.Offset < FromStart:
			err = fmt.Errorf("%s/%d: there is no offset %d", row.Topic, row.Partition, t.Offset)
		case err == nil && t.Offset > row.Offset:
			err = forward(row, t.Offset)
		case err == nil && t.Offset < row.Offset:
			moves = append(moves, Move{row, t.Offset})
		}
		named[at] = true
		faults = append(faults, err)
	}
	return moves, errors.Join(faults...)
}

// forward is why a position is not moved.
func forward(row bus.Position, to int64) error {
	if row.Offset == FromStart {
		return fmt.Errorf("%s/%d is about to be read from the log's start: a move forward, to %d, would leave events out", row.Topic, row.Partition, to)
	}
	return fmt.Errorf("%s/%d is at %d: a move forward, to %d, would leave events out", row.Topic, row.Partition, row.Offset, to)
}

// positionOf returns the position that t names.
func positionOf(rows []bus.Position, t bus.Position) (found bus.Position, err error) {
	n := 0
	for _, r := range rows {
		if (t.Topic == "" || t.Topic == r.Topic) && t.Partition == r.Partition {
			found = r
			n++
		}
	}
	switch {
	case n == 0:
		return t, fmt.Errorf("%s/%d: the group reads no such partition", t.Topic, t.Partition)
	case n > 1:
		return t, fmt.Errorf("partition %d: the group reads more than one topic; name it", t.Partition)
	case t.Log != "" && t.Log != found.Log:
		return t, fmt.Errorf("%s/%d: the group reads the log %q, and not %q", found.Topic, found.Partition, found.Log, t.Log)
	}
	return found, nil
}
