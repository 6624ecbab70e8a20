package inbox

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Status is how far a group has come.
type Status struct {
	Group     string         // its name on the wire
	Keys      int64          // keys that have a mark
	Versions  uint64         // the sum of the marks: versions done, where none was missing
	Positions []bus.Position // Offset is the next to be read; in order of topic and partition
	// Lag is how many events the log holds that are not yet read; -1 where nobody can say: Run is not running, the
	// bus keeps no log, or the broker did not answer within a second.
	Lag int64

	// Missed is how many events never came, by the numbers that their source gave them: exactly, on a bus without a
	// log, across restarts of either side. The sum over Streams, where they are one by one.
	Missed  int64
	Streams []Stream // in order of topic and source, older numberings first

	Duplicates int64 // events that were discarded because they had been done, twins of those among them
	Ignored    int64 // events of types that no route takes, or of sources that Config.Sources doesn't name; not those passed over for a twin
	Missing    int64 // versions that never came: passed over by a projection, or in a history's holes
	Lost       int64 // offsets that the log no longer held when the group came to them
	Resets     int64 // how often a partition was begun again: its topic made anew, its log shortened or cut
	Waiting    int64 // events that wait for missing versions of their key
	Holes      int64 // runs of missing versions on record
	Parked     int64 // events that could not be taken, without those behind them
	Dead       int64 // those of them that are tried no more
	Behind     int64 // events of a history that wait behind a parked one of their key
	Queue      int64 // reactions still to be performed
	Skipped    int64 // reactions that were too old to be performed
}

// Stream is how far the group has followed the numbers that a source gives its events on one topic, on a bus without a
// log. A number that was given out and not received counts as missed until it comes.
type Stream struct {
	Topic, Source string
	SeqLog        string // which numbering: see [bus.Event]
	First         uint64 // the first number that is counted: 1 where the group has followed it from the start
	Highest       uint64 // the highest that was heard of, by an event or a heartbeat; First-1 before any
	Missed        int64  // how many from First to Highest have not come
}

// Hole is a run of versions of one key that a history waited for and that did not come.
type Hole struct{ First, Last uint64 } // both included

// Holes returns what is missing of one key on record, in order. An event that comes late for a hole is still applied,
// and makes it smaller, splits it or closes it.
func (in *Inbox) Holes(ctx context.Context, source, key string) ([]Hole, error) {
	const text = `SELECT h.first, h.last FROM tidings_inbox_hole h JOIN tidings_inbox_source s ON s.id = h.source
		WHERE s.grp = $1 AND s.source = $2 AND h.key = $3 ORDER BY h.first`
	var holes []Hole
	err := query(ctx, in.cfg.DB, func(row scanner) error {
		var first, last int64
		err := row.Scan(&first, &last)
		holes = append(holes, Hole{uint64(first), uint64(last)})
		return err
	}, text, in.cfg.Group, source, key)
	if err != nil {
		return nil, fmt.Errorf("inbox: group %q: holes of %q: %w", in.cfg.Group, key, err)
	}
	return holes, nil
}

// lagWithin bounds how long Status waits for the broker.
const lagWithin = time.Second

// Status reads how far the group has come, from the database and, for the lag, from the broker. It counts the marks
// one by one: a tenth of a second for a million keys. It works while Run does not, too.
func (in *Inbox) Status(ctx context.Context) (Status, error) {
	s := Status{Group: in.group, Lag: -1}
	// Positions before marks: what is committed in between can then make the lag look too large, but never 0 with
	// marks that are older than that.
	for _, read := range []func(context.Context, *Status) error{in.readPositions, in.readStreams, in.readKeys, in.readCounters, in.readTables} {
		if err := read(ctx, &s); err != nil {
			return Status{}, fmt.Errorf("inbox: group %q: status: %w", in.cfg.Group, err)
		}
	}
	s.Lag = in.lag(ctx, s.Positions)
	return s, nil
}

// readKeys counts the marks, and not a counter of them: status is what one trusts when something looks wrong.
func (in *Inbox) readKeys(ctx context.Context, s *Status) error {
	const text = `SELECT COUNT(*), COALESCE(SUM(m.version), 0) FROM tidings_inbox_mark m
		WHERE m.source IN (SELECT id FROM tidings_inbox_source WHERE grp = $1)`
	return in.cfg.DB.QueryRowContext(ctx, text, in.cfg.Group).Scan(&s.Keys, &s.Versions)
}

// readPositions reads where the group is in each partition.
func (in *Inbox) readPositions(ctx context.Context, s *Status) error {
	const text = `SELECT topic, log, part, next FROM tidings_inbox_position WHERE grp = $1 ORDER BY topic, part`
	return query(ctx, in.cfg.DB, func(row scanner) error {
		var p bus.Position
		err := row.Scan(&p.Topic, &p.Log, &p.Partition, &p.Offset)
		s.Positions = append(s.Positions, p)
		return err
	}, text, in.cfg.Group)
}

// readStreams reads how far the group has followed numbers, and adds up what it missed. The sum is made here, and ends
// at the largest that there is: SQLite's fails there, and numbers come from outside.
func (in *Inbox) readStreams(ctx context.Context, s *Status) error {
	const text = `SELECT s.topic, s.source, s.log, s.first, s.highest, s.folded + COALESCE(SUM(m.last - m.first + 1), 0)
		FROM tidings_inbox_stream s LEFT JOIN tidings_inbox_missed m ON m.stream = s.id
		WHERE s.grp = $1 GROUP BY s.id, s.topic, s.source, s.log, s.first, s.highest, s.folded ORDER BY s.topic, s.source, s.id`
	return query(ctx, in.cfg.DB, func(row scanner) error {
		var n Stream
		err := row.Scan(&n.Topic, &n.Source, &n.SeqLog, &n.First, &n.Highest, &n.Missed)
		s.Streams = append(s.Streams, n)
		s.Missed += min(n.Missed, math.MaxInt64-s.Missed)
		return err
	}, text, in.cfg.Group)
}

// readCounters reads what was counted on the way.
func (in *Inbox) readCounters(ctx context.Context, s *Status) error {
	places := map[string]*int64{
		counterForeign: &s.Ignored, counterDuplicates: &s.Duplicates, counterMissing: &s.Missing, counterLost: &s.Lost,
		counterResets: &s.Resets, counterSkipped: &s.Skipped,
	}
	return query(ctx, in.cfg.DB, func(row scanner) error {
		var name string
		var n int64
		err := row.Scan(&name, &n)
		if place := places[name]; place != nil {
			*place = n
		}
		return err
	}, `SELECT name, n FROM tidings_inbox_counter WHERE grp = $1`, in.cfg.Group)
}

// readTables counts the rows of the tables that are small as long as all is well.
func (in *Inbox) readTables(ctx context.Context, s *Status) error {
	const text = `WITH mine AS (SELECT id FROM tidings_inbox_source WHERE grp = $1)
		SELECT
		(SELECT COALESCE(SUM(n), 0) FROM tidings_inbox_ignored WHERE grp = $1),
		(SELECT COUNT(*) FROM tidings_inbox_waiting WHERE source IN (SELECT id FROM mine)),
		(SELECT COUNT(*) FROM tidings_inbox_hole WHERE source IN (SELECT id FROM mine)),
		(SELECT COALESCE(SUM(last - first + 1), 0) FROM tidings_inbox_hole WHERE source IN (SELECT id FROM mine)),
		(SELECT COUNT(*) FROM tidings_inbox_parked WHERE grp = $1),
		(SELECT COUNT(*) FROM tidings_inbox_parked WHERE grp = $1 AND state = $2),
		(SELECT COUNT(*) FROM tidings_inbox_parked WHERE grp = $1 AND state = $3),
		(SELECT COUNT(*) FROM tidings_inbox_queue WHERE source IN (SELECT id FROM mine))`
	var ignored, inHoles int64
	err := in.cfg.DB.QueryRowContext(ctx, text, in.cfg.Group, stateDead, stateBehind).
		Scan(&ignored, &s.Waiting, &s.Holes, &inHoles, &s.Parked, &s.Dead, &s.Behind, &s.Queue)
	s.Ignored += ignored
	s.Parked -= s.Behind
	s.Missing += inHoles
	return err
}

// lag asks the broker how much is still to be read. Not knowing it is an answer, too: a status must not hang or fail
// because the broker is away.
func (in *Inbox) lag(ctx context.Context, positions []bus.Position) int64 {
	broker := in.broker.Load()
	if broker == nil {
		return -1
	}
	ctx, cancel := context.WithTimeout(ctx, lagWithin)
	defer cancel()
	parts, err := (*broker).Partitions(ctx, in.cfg.Topics...)
	if err != nil {
		return -1
	}
	return lagOf(parts, positions)
}

// lagOf counts the offsets from the positions to the ends of the logs. A partition without a position, or with one
// that its log doesn't hold, is still to be read whole.
func lagOf(parts []bus.Partition, positions []bus.Position) int64 {
	type place struct {
		topic, log string
		partition  int32
	}
	next := make(map[place]int64, len(positions))
	for _, p := range positions {
		next[place{p.Topic, p.Log, p.Partition}] = p.Offset
	}
	lag := int64(0)
	for _, p := range parts {
		at, ok := next[place{p.Topic, p.Log, p.Partition}]
		if !ok || at < p.First || at > p.Next {
			at = p.First
		}
		lag += p.Next - at
	}
	return lag
}
