package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// streamKey names a numbering. A source numbers its events for each topic alone; log changes when it begins again.
type streamKey struct{ topic, source, log string }

// stream is what an attempt knows of a numbering, and what its delivery says of it.
type stream struct {
	streamKey
	numbers []uint64 // of the delivery's events, those it had already too
	beats   bool     // there is a heartbeat
	lowest  uint64   // the lowest number that a heartbeat tells of
	beat    uint64   // the highest
	older   bool     // the group knows, or the delivery has events of before, another numbering of the same topic and source
	whole   bool     // the first of its source, and followed from its start, so that the first version of every key is 1

	id, rev     int64
	first       uint64 // the first number that is counted
	old         uint64 // highest, before this attempt
	highest     uint64
	folded      uint64
	ranges      int64
	found       []span   // missing above old
	late        []uint64 // numbers that are not above old
	cuts        []cutout // what late numbers take out of what was missing
	foldedFirst bool     // this attempt is the first to fold
}

// hear gathers the numbers of a delivery of a bus without a log, and decides by the stream's rows what is missing.
// Rows are read in order, like positions, so that two replicas never wait for one another in a circle. On a bus with a
// log numbers mean nothing, for its positions say what was read; nor does a number without the id of its numbering,
// which need not be one that is counted up.
func (a *attempt) hear(ctx context.Context, d bus.Delivery) error {
	if len(d.Ranges) > 0 {
		return nil
	}
	for i := range d.Events {
		e := &d.Events[i]
		if e.Seq == 0 || e.SeqLog == "" || e.Err != nil || a.cfg.foreign(e.Source) || a.wild(e.Seq) || unfitNumbering(e.Source, e.SeqLog) {
			continue
		}
		s := a.streamFor(streamKey{e.At.Topic, e.Source, e.SeqLog}, len(d.Events))
		s.numbers = append(s.numbers, e.Seq)
	}
	a.bySource = nil // of heartbeats nobody can say what they stand behind
	for _, h := range d.Heartbeats {
		if h.SeqLog == "" || a.cfg.foreign(h.Source) || a.wild(h.Seq) || unfitNumbering(h.Source, h.SeqLog) {
			continue
		}
		s := a.streamFor(streamKey{h.Topic, h.Source, h.SeqLog}, 0)
		if !s.beats {
			s.beats, s.lowest = true, h.Seq
		}
		s.lowest, s.beat = min(s.lowest, h.Seq), max(s.beat, h.Seq)
	}
	slices.SortFunc(a.streams, func(x, y *stream) int {
		return cmp.Or(cmp.Compare(x.topic, y.topic), cmp.Compare(x.source, y.source), cmp.Compare(x.log, y.log))
	})
	// All rows are read before any is made: whether a numbering is the first of its source is asked of what was there.
	for _, step := range []func(context.Context, *stream) error{a.readStream, a.follows} {
		for _, s := range a.streams {
			if err := step(ctx, s); err != nil {
				return fmt.Errorf("numbers of %s on %s: %w", s.source, s.topic, err)
			}
		}
	}
	return nil
}

// wild reports whether a number is too high to be one. It is left out: no count would be right after it.
func (a *attempt) wild(n uint64) bool {
	if n > maxSeq {
		a.tooHigh++
	}
	return n > maxSeq
}

// streamOf returns the stream of this delivery that e's number is of; nil where there is none.
func (a *attempt) streamOf(e *bus.Event) *stream {
	if len(a.streams) == 0 || e.Seq == 0 || e.SeqLog == "" {
		return nil
	}
	return a.find(streamKey{e.At.Topic, e.Source, e.SeqLog})
}

// find looks a stream up. Mostly it is the one of the event before.
func (a *attempt) find(k streamKey) *stream {
	if s := a.recent; s != nil && s.streamKey == k {
		return s
	}
	s := a.byStream[k]
	if s != nil {
		a.recent = s
	}
	return s
}

// streamFor returns the stream of k, which is made at need, with room for so many numbers.
func (a *attempt) streamFor(k streamKey, room int) *stream {
	if s := a.find(k); s != nil {
		return s
	}
	if a.byStream == nil {
		a.byStream = make(map[streamKey]*stream)
	}
	// In the order in which they came: what stands behind another numbering of its source has begun after it.
	source := streamKey{topic: k.topic, source: k.source}
	s := &stream{streamKey: k, older: slices.Contains(a.bySource, source)}
	if room > 0 {
		a.bySource = append(a.bySource, source)
	}
	if len(a.streams) == 0 {
		s.numbers = make([]uint64, 0, room)
	}
	a.byStream[k] = s
	a.streams, a.recent = append(a.streams, s), s
	return s
}

// follows goes on with a stream from where it stands.
func (a *attempt) follows(ctx context.Context, s *stream) error {
	slices.Sort(s.numbers)
	s.numbers = slices.Compact(s.numbers)
	if s.id == 0 {
		if err := a.newStream(ctx, s); err != nil {
			return err
		}
	}
	s.count()
	if len(s.late) == 0 || s.ranges == 0 {
		return nil
	}
	return a.readCuts(ctx, s)
}

// readStream reads the row of a stream, and locks it: replicas that hear the same events take them in one after another.
func (a *attempt) readStream(ctx context.Context, s *stream) error {
	const text = `SELECT id, first, highest, whole, folded, ranges, rev FROM tidings_inbox_stream
		WHERE grp = $1 AND topic = $2 AND source = $3 AND log = $4`
	err := a.tx.QueryRowContext(ctx, text+a.forUpdate, a.cfg.Group, s.topic, s.source, s.log).
		Scan(&s.id, &s.first, &s.old, &s.whole, &s.folded, &s.ranges, &s.rev)
	s.highest = s.old
	switch {
	case !errors.Is(err, sql.ErrNoRows):
		return err
	case s.older:
		return nil
	}
	const another = `SELECT EXISTS (SELECT 1 FROM tidings_inbox_stream WHERE grp = $1 AND topic = $2 AND source = $3)`
	return a.tx.QueryRowContext(ctx, another, a.cfg.Group, s.topic, s.source).Scan(&s.older)
}

// newStream begins a stream. What came before the first of it that is heard was not for this group; but where the group
// has followed the source before, a new numbering is for it from number 1 on.
func (a *attempt) newStream(ctx context.Context, s *stream) error {
	s.first = s.base()
	s.old = s.first - 1
	s.highest = s.old
	if err := a.judge(ctx, s); err != nil {
		return err
	}
	const text = `INSERT INTO tidings_inbox_stream (grp, topic, source, log, first, highest, whole, folded, ranges, rev)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0) ON CONFLICT DO NOTHING RETURNING id`
	err := a.tx.QueryRowContext(ctx, text, a.cfg.Group, s.topic, s.source, s.log, int64(s.first), int64(s.old), s.whole).Scan(&s.id)
	if errors.Is(err, sql.ErrNoRows) {
		return errMoved // another replica has begun it meanwhile
	}
	return err
}

// judge finds out whether a new stream is whole. A numbering may be younger than the keys of its source: it begins anew
// with the tables of its owner's outbox, and when the bus is swapped. So the owner must say that it is the first, and the
// group must hear it from its number 1 on, and never have heard the source before, nor in another numbering now.
func (a *attempt) judge(ctx context.Context, s *stream) error {
	if s.first > 1 || s.older || !strings.HasPrefix(s.log, bus.SeqLogFirst) || a.numbersOtherwise(s) {
		return nil
	}
	_, heard, err := findSource(ctx, a.tx, a.cfg.Group, s.source)
	s.whole = !heard
	return err
}

// numbersOtherwise reports whether the delivery has another numbering of s's source, on whichever topic.
func (a *attempt) numbersOtherwise(s *stream) bool {
	return slices.ContainsFunc(a.streams, func(other *stream) bool { return other != s && other.source == s.source })
}

// storeStreams writes down how far the streams have come, and what is missing. A row that is no longer as it was read
// rolls all back: another replica has counted meanwhile.
func (a *attempt) storeStreams(ctx context.Context) error {
	const text = `UPDATE tidings_inbox_stream SET highest = $1, folded = $2, ranges = $3, rev = rev + 1 WHERE id = $4 AND rev = $5`
	for _, s := range a.streams {
		if s.highest == s.old && len(s.cuts) == 0 {
			continue // repeats only
		}
		err := a.storeMissed(ctx, s)
		if err == nil {
			err = one(a.tx.ExecContext(ctx, text, int64(s.highest), int64(s.folded), s.ranges, s.id, s.rev))
		}
		if err != nil {
			return fmt.Errorf("%s on %s: %w", s.source, s.topic, err)
		}
	}
	crashpoint.Pass("inbox.D7c")
	return nil
}
