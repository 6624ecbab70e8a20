package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// resume says where to read on in parts, from the database's own record, and fixes the start of what it has no
// record of before anything is read.
//
// What the bus says of the logs may be older than the record: another replica may have gone on meanwhile. So before a
// position is given up for not being in its log, the broker is asked once more, and the position must still be the one
// that was in doubt then.
func (in *Inbox) resume(ctx context.Context, parts []bus.Partition) ([]int64, error) {
	doubts := make(map[topicPart]stored)
	moved := 0
	for logs := []bus.Partition(nil); ; {
		next, err := in.resumeBy(ctx, parts, logs, doubts)
		if errors.Is(err, errMoved) && moved < maxMoved {
			moved++ // another replica has just fixed a start
			continue
		}
		if err == nil {
			in.places.resumed(parts, next)
		}
		if !errors.Is(err, errDoubt) {
			return next, err
		}
		if logs, err = (*in.broker.Load()).Partitions(ctx, in.cfg.Topics...); err != nil {
			return nil, fmt.Errorf("inbox: resume: %w", err)
		}
	}
}

// topicPart names a partition.
type topicPart struct {
	topic  string
	number int32
}

// errDoubt says that the broker has to be asked whether a position is really not in its log. It rolls back, for that
// must not be done inside a transaction.
var errDoubt = errors.New("a position is not in the log that the bus describes")

func (in *Inbox) resumeBy(ctx context.Context, parts, logs []bus.Partition, doubts map[topicPart]stored) ([]int64, error) {
	var next []int64
	var r *resumption
	err := in.writer.InTx(ctx, func(ctx context.Context, tx Tx) error {
		next = make([]int64, len(parts))
		r = &resumption{in: in, tx: tx, logs: logs, doubts: doubts, stored: make(map[string]map[int32]stored)}
		var doubt error
		for _, i := range inOrder(parts) {
			p, err := parts[i], error(nil)
			next[i], err = r.next(ctx, p)
			switch {
			case errors.Is(err, errDoubt):
				doubt = err // the others may be in doubt too, and the broker is asked for all at once
			case err != nil:
				return fmt.Errorf("inbox: resume %s/%d: %w", p.Topic, p.Partition, err)
			}
		}
		if doubt != nil {
			return doubt
		}
		crashpoint.Pass("inbox.D0a")
		return r.storeCounts(ctx)
	})
	if err != nil {
		return nil, err
	}
	crashpoint.Pass("inbox.D0b")
	for _, l := range r.resets {
		in.log.WarnContext(ctx, "a partition is read again from the log's start, for the position lies outside of its log",
			"topic", l.Topic, "partition", l.Partition, "first", l.First, "end", l.Next, "position", l.position, "reason", l.reason)
	}
	if len(r.again) > 0 {
		// Of those that are cut, not all that there ever was comes again.
		cut := slices.DeleteFunc(slices.Clone(r.again), func(p bus.Partition) bool { return p.First == 0 })
		in.log.InfoContext(ctx, "partitions are read again from their log's start, as it was asked for",
			"partitions", len(r.again), "cut", len(cut))
	}
	return next, nil
}

// inOrder returns the indexes of parts in order of topic and partition, in which their rows are locked.
func inOrder(parts []bus.Partition) []int {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(parts[i].Topic, parts[j].Topic), cmp.Compare(parts[i].Partition, parts[j].Partition))
	})
	return order
}

// stored is a position row. whole is kept when a partition is begun again: what the group has read of its keys
// before, it still has.
type stored struct {
	log   string
	next  int64
	whole bool
}

// resumption answers for one Resume, inside its transaction.
type resumption struct {
	in     *Inbox
	tx     Tx
	logs   []bus.Partition             // what the broker said when it was asked once more; nil before
	doubts map[topicPart]stored        // the positions for whose sake it was asked
	stored map[string]map[int32]stored // by topic, as it was before
	counts counts
	resets []reset
	again  []bus.Partition // begun again because somebody asked for it
}

type reset struct {
	bus.Partition
	position int64
	reason   string
}

func (r *resumption) next(ctx context.Context, p bus.Partition) (int64, error) {
	rows, err := r.topic(ctx, p.Topic)
	if err != nil {
		return 0, err
	}
	row, ok := rows[p.Partition]
	switch {
	case len(rows) == 0: // a new group
		return p.Offset, r.begin(ctx, p, p.Offset, p.Offset == 0 && p.First == 0)
	case !ok: // a new partition
		return p.First, r.begin(ctx, p, p.First, p.First == 0 && allWhole(rows))
	}
	log, err := r.latest(p)
	if err != nil {
		return 0, err
	}
	reason := outside(row, log)
	switch {
	case row.next == FromStart:
		return log.First, r.beginAgain(ctx, log)
	case reason == "":
		// Where the record is beyond what the bus knows yet, events below it are left out as they come.
		return min(row.next, p.Next), nil
	case r.in.broker.Load() != nil && r.unasked(p, row):
		return 0, errDoubt
	}
	return r.reset(ctx, log, row, reason)
}

// unasked reports whether the broker has yet to be asked for the sake of this very position, and takes note of it.
func (r *resumption) unasked(p bus.Partition, row stored) bool {
	at := topicPart{p.Topic, p.Partition}
	before, asked := r.doubts[at]
	r.doubts[at] = row
	return r.logs == nil || !asked || before != row
}

// latest returns the newest description of p's log.
func (r *resumption) latest(p bus.Partition) (bus.Partition, error) {
	for _, log := range r.logs {
		if log.Topic != p.Topic || log.Partition != p.Partition {
			continue
		}
		if log.Log != p.Log {
			return log, errors.New("the topic was made anew just now")
		}
		return log, nil
	}
	return p, nil
}

// outside says why a log does not hold a position; "" where it does. The log's end is a position.
func outside(row stored, log bus.Partition) (reason string) {
	switch {
	case row.log != log.Log:
		return "the topic was made anew"
	case row.next > log.Next:
		return "the log is shorter than it was"
	case row.next < log.First:
		return "the log no longer holds the events behind the position"
	}
	return ""
}

// topic reads the group's rows of a topic as they were before this transaction: whether the group is new is decided
// by them for all partitions alike. They are locked: nobody else moves them meanwhile.
func (r *resumption) topic(ctx context.Context, topic string) (map[int32]stored, error) {
	if rows, ok := r.stored[topic]; ok {
		return rows, nil
	}
	const text = `SELECT part, log, next, whole FROM tidings_inbox_position WHERE grp = $1 AND topic = $2 ORDER BY part`
	rows := make(map[int32]stored)
	err := query(ctx, r.tx, func(row scanner) error {
		var n int32
		var s stored
		err := row.Scan(&n, &s.log, &s.next, &s.whole)
		rows[n] = s
		return err
	}, text+r.in.forUpdate, r.in.cfg.Group, topic)
	r.stored[topic] = rows
	return rows, err
}

func allWhole(rows map[int32]stored) bool {
	for _, s := range rows {
		if !s.whole {
			return false
		}
	}
	return true
}

// reset begins p again at the oldest offset that its log holds.
func (r *resumption) reset(ctx context.Context, p bus.Partition, was stored, reason string) (int64, error) {
	r.counts.add(counterResets, 1)
	if was.log == p.Log {
		r.counts.add(counterLost, max(0, p.First-was.next))
	}
	r.resets = append(r.resets, reset{p, was.next, reason})
	const text = `UPDATE tidings_inbox_position SET log = $1, next = $2 WHERE grp = $3 AND topic = $4 AND part = $5`
	return p.First, one(r.tx.ExecContext(ctx, text, p.Log, p.First, r.in.cfg.Group, p.Topic, p.Partition))
}

// beginAgain fixes the start of a partition that was put back to it. From the log's very start, the first version of each
// key that has no mark is 1.
func (r *resumption) beginAgain(ctx context.Context, p bus.Partition) error {
	r.again = append(r.again, p)
	const text = `UPDATE tidings_inbox_position SET log = $1, next = $2, whole = (whole OR $3) WHERE grp = $4 AND topic = $5 AND part = $6`
	return one(r.tx.ExecContext(ctx, text, p.Log, p.First, p.First == 0, r.in.cfg.Group, p.Topic, p.Partition))
}

// begin fixes the start of a partition that has no row. Where another replica has done so meanwhile, its start holds: it
// may have read on from there.
func (r *resumption) begin(ctx context.Context, p bus.Partition, next int64, whole bool) error {
	const text = `INSERT INTO tidings_inbox_position (grp, topic, part, log, next, whole) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (grp, topic, part) DO NOTHING`
	return one(r.tx.ExecContext(ctx, text, r.in.cfg.Group, p.Topic, p.Partition, p.Log, next, whole))
}

func (r *resumption) storeCounts(ctx context.Context) error {
	return r.counts.store(ctx, r.tx, r.in.cfg.Group)
}
