package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// logPart names a partition of a log: of the topic with that id, for a topic may be deleted and made anew.
type logPart struct {
	topic, log string
	part       int32
}

func (p logPart) compare(other logPart) int {
	return cmp.Or(cmp.Compare(p.topic, other.topic), cmp.Compare(p.log, other.log), cmp.Compare(p.part, other.part))
}

// ends are how far logs were written, as far as is known here: by topic and log, for each partition one past the
// highest offset that was acknowledged. A log only grows, so whatever is acknowledged later stands at or behind it.
type ends map[string]map[string][]int64

// of is the end of a partition; 0 where nothing is known of it.
func (e ends) of(p logPart) int64 {
	if next := e[p.topic][p.log]; int(p.part) < len(next) {
		return next[p.part]
	}
	return 0
}

// raise takes note of an end, unless a higher one is known.
func (e ends) raise(p logPart, to int64) {
	if e[p.topic] == nil {
		e[p.topic] = make(map[string][]int64)
	}
	next := e[p.topic][p.log]
	if missing := int(p.part) + 1 - len(next); missing > 0 {
		next = append(next, make([]int64, missing)...)
	}
	next[p.part] = max(next[p.part], to)
	e[p.topic][p.log] = next
}

// settle forgets what the log of a topic lacks.
func (e ends) settle(l lack) {
	for _, log := range l.old {
		delete(e[l.topic], log)
	}
	for _, c := range l.cuts {
		e[l.topic][l.log][c.part] = c.next
	}
}

// copyOf is what is known of one topic; it shares nothing with e.
func (e ends) copyOf(topic string) ends {
	logs := make(map[string][]int64, len(e[topic]))
	for log, next := range e[topic] {
		logs[log] = slices.Clone(next)
	}
	return ends{topic: logs}
}

// errMovedLog means that an acknowledgement comes from another log, or from below what this one held before.
var errMovedLog = errors.New("the log is not the one that it was, or is shorter")

// acknowledged takes note of where events of a topic were stored. It takes none of them, and returns an error, if one
// is not where it can be in a log that only grows: in another log than the one known, or below what was acknowledged
// before. failed are those without an acknowledgement. Within a call nothing is said of the order of keys.
func (e ends) acknowledged(topic string, events []bus.Event, failed map[int]error) error {
	logs := e[topic]
	log, next := "", []int64(nil) // of the event before
	for i := range events {
		at := &events[i].At
		if !placed(at, failed[i]) {
			continue
		}
		if at.Log != log || next == nil {
			log, next = at.Log, logs[at.Log]
		}
		switch p := int(at.Partition); {
		case log == "", next == nil && len(logs) > 0:
			return fmt.Errorf("%w: partition %d of log %q took an event", errMovedLog, at.Partition, at.Log)
		case p < len(next) && at.Offset < next[p]:
			return fmt.Errorf("%w: partition %d took an event at %d, and held %d before", errMovedLog, at.Partition, at.Offset, next[p])
		}
	}
	for i := range events {
		if at := &events[i].At; placed(at, failed[i]) {
			e.raise(logPart{topic, at.Log, at.Partition}, at.Offset+1)
		}
	}
	return nil
}

// placed reports whether an event was acknowledged, with its place. A bus need not tell of places.
func placed(at *bus.Position, failed error) bool { return failed == nil && at.Offset >= 0 }

// endColumns is the number of values in a row of an end.
const endColumns = 5

// endMany are the texts that store ends, by number of rows.
var endMany = manyRows(endColumns, `INSERT INTO tidings_outbox_log (topic, log, part, next, refill_low) VALUES `,
	` ON CONFLICT (topic, log, part) DO UPDATE
		SET next = CASE WHEN excluded.next > tidings_outbox_log.next THEN excluded.next ELSE tidings_outbox_log.next END,
			refill_low = CASE WHEN tidings_outbox_log.refill_to > 0
				AND (tidings_outbox_log.refill_low = 0 OR tidings_outbox_log.refill_low > excluded.refill_low)
				THEN excluded.refill_low ELSE tidings_outbox_log.refill_low END`)

// reach is how far a batch came in a partition, and its lowest position there.
type reach struct{ next, low int64 }

// storeEnds stores how far the partitions have come with what is marked as sent, in the same transaction: so a relay
// finds what a log lacks without a look at every row, whatever happened to the relay before. Where a log is being
// filled it stores from which position on there are rows to look at, whoever has marked them.
func storeEnds(ctx context.Context, tx Tx, sent []sentRow) error {
	reached := endsOf(sent)
	if len(reached) == 0 {
		return nil
	}
	parts := slices.SortedFunc(maps.Keys(reached), logPart.compare) // in which order rows are locked
	args := make([]any, 0, endColumns*min(len(parts), largestChunk))
	return chunks(len(parts), func(text, from, to int) error {
		args = args[:0]
		for _, p := range parts[from:to] {
			args = append(args, p.topic, p.log, int64(p.part), reached[p].next, reached[p].low)
		}
		_, err := tx.ExecContext(ctx, endMany[text], args...)
		return err
	})
}

// endsOf are the ends of a batch, which is in order of position. Without a log there is none.
func endsOf(sent []sentRow) map[logPart]reach {
	reached := make(map[logPart]reach)
	var of logPart // the partitions of one log, by number, are gone through without a look at the map
	var parts []reach
	put := func() {
		for part, at := range parts {
			if at.next > 0 {
				of.part = int32(part)
				if before, is := reached[of]; is {
					at = reach{max(at.next, before.next), before.low}
				}
				reached[of] = at
			}
		}
		parts = parts[:0]
	}
	for i := range sent {
		at := &sent[i].at
		if at.Offset < 0 {
			continue
		}
		if at.Log != of.log || at.Topic != of.topic {
			put()
			of = logPart{topic: at.Topic, log: at.Log}
		}
		if missing := int(at.Partition) + 1 - len(parts); missing > 0 {
			parts = append(parts, make([]reach, missing)...)
		}
		p := &parts[at.Partition]
		if p.next == 0 {
			p.low = sent[i].position
		}
		p.next = max(p.next, at.Offset+1)
	}
	put()
	return reached
}

// readEnds reads what is stored of the ends, and of which topics rows are held: where a partition was purged up to its
// end there are none of it.
func (r *relay) readEnds(ctx context.Context) (known ends, held map[string]bool, err error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, `SELECT topic, log, part, CASE WHEN seen > next THEN seen ELSE next END,
		purged_next < next FROM tidings_outbox_log`)
	if err != nil {
		return nil, nil, fmt.Errorf("read the ends of logs: %w", err)
	}
	defer rows.Close()
	known, held = make(ends), make(map[string]bool)
	for rows.Next() {
		var p logPart
		var next int64
		var some bool
		if err := rows.Scan(&p.topic, &p.log, &p.part, &next, &some); err != nil {
			return nil, nil, fmt.Errorf("read the ends of logs: %w", err)
		}
		known.raise(p, next)
		if some {
			held[p.topic] = true
		}
	}
	return known, held, rows.Err()
}

// seenMany are the texts that store how far logs were found to go, by number of rows.
var seenMany = manyRows(endColumns, `INSERT INTO tidings_outbox_log (topic, log, part, next, seen) VALUES `,
	` ON CONFLICT (topic, log, part) DO UPDATE
		SET seen = CASE WHEN excluded.seen > tidings_outbox_log.seen THEN excluded.seen ELSE tidings_outbox_log.seen END`)

// storeSeen stores how far the log of a topic was found to go, where that is further than this outbox has written: a
// reader may stand behind the events of others, and what is cut off there has to be filled as well. Where nobody else
// writes it stores nothing.
func (r *relay) storeSeen(ctx context.Context, parts []bus.Partition) error {
	var args []any
	for _, p := range parts {
		if p.Next > r.logs.ends.of(logPart{p.Topic, p.Log, p.Partition}) {
			args = append(args, p.Topic, p.Log, int64(p.Partition), 0, p.Next)
		}
	}
	if len(args) == 0 {
		return nil
	}
	asked := time.Now()
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := r.w.InOwnTx(ctx, func(ctx context.Context, tx Tx) error {
		err := chunks(len(args)/endColumns, func(text, from, to int) error {
			_, err := tx.ExecContext(ctx, seenMany[text], args[endColumns*from:endColumns*to]...)
			return err
		})
		if err != nil {
			return fmt.Errorf("store the ends of logs: %w", err)
		}
		return r.renewIn(ctx, tx)
	})
	return r.renewedBy(asked, err)
}
