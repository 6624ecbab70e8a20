package inbox

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// States of a parked row.
const (
	stateParked  = "parked"  // it failed, and is tried again
	stateBehind  = "behind"  // it waits behind a parked one of its key
	stateDead    = "dead"    // it can never be taken, or its attempts are spent
	stateUnknown = "unknown" // no route takes its type
)

// maxErrorText bounds the text of an error that is kept, in bytes.
const maxErrorText = 4096

// lineKey names a line of parked events: those of one key in the order in which they have to be taken. Events without a
// version have one of their own.
type lineKey struct {
	sourceKey
	loose bool
}

func (j *job) line() lineKey { return lineKey{sourceKey{j.source, j.ev.Key}, j.ev.Version == 0} }

// strict reports whether each event of a line matters, in order. Of a projection only the newest version does; but one
// without a version can't be told to make up for another.
func (in *Inbox) strict(k lineKey) bool { return in.every || k.loose }

// parkedRow is a row of the parked table.
type parkedRow struct {
	id         int64
	ev         *bus.Event
	state      string
	line       int64 // the source's number in front of a line, its negative behind that, 0 in none
	have, upto uint64
	reaction   bool
	seq        int64 // a reaction's place in the queue
	attempts   int
	next       int64 // milliseconds since 1970; 0 where it is not tried
	why        string
	time       int64 // milliseconds since 1970
}

// parkUnfit keeps a record that can't be taken at all. It has no line, for its key may be none.
func (a *attempt) parkUnfit(e *bus.Event, why error) {
	a.parked = append(a.parked, parkedRow{ev: e, state: stateDead, why: errorText(why), time: a.now.UnixMilli()})
}

// errorText is the text of err that is kept.
func errorText(err error) string {
	s := err.Error()
	if len(s) > maxErrorText {
		s = s[:maxErrorText] + "…"
	}
	return text8(s)
}

// failing fills in a row what one more failure makes of it: the delay follows from the number of attempts, which stands
// in the table, so a restart neither forgets nor prolongs anything.
func (a *attempt) failing(row *parkedRow, why error) {
	row.why = errorText(why)
	if errors.Is(why, errUnread) {
		row.state, row.next = stateParked, a.now.Add(restUnread).UnixMilli()
		return
	}
	row.attempts++
	row.state, row.next = stateParked, a.now.Add(retryDelay(row.attempts, why)).UnixMilli()
	if bus.IsPermanent(why) || a.cfg.Attempts > 0 && row.attempts >= a.cfg.Attempts {
		row.state, row.next = stateDead, 0
	}
}

// readLines reads which keys of what is to be done have a parked event of before. As a rule there are no lines at all, and
// a look into an index tells.
//
// The lines of versions are locked by the marks, which are read before. Those of events without a version have nothing
// to be locked by but their rows: all of them, for the one in front may be removed while it is waited for, and another
// come to the front.
func (a *attempt) readLines(ctx context.Context) error {
	if len(a.todo) == 0 {
		return nil
	}
	var some bool
	err := a.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM tidings_inbox_parked WHERE line > 0)`).Scan(&some)
	if err != nil || !some {
		return err
	}
	a.lines = make(map[lineKey]bool)
	keys := a.keysToDo()
	loose := func(j job) bool { return j.ev.Version == 0 }
	if a.forUpdate != "" && slices.ContainsFunc(a.todo, loose) {
		if err := a.findLines(ctx, &a.sql.looseLines, keys); err != nil {
			return err
		}
	}
	return a.findLines(ctx, &a.sql.lines, keys)
}

func (a *attempt) findLines(ctx context.Context, t *texts, keys []mark) error {
	return eachSource(keys, func(source int64, _ []mark, keys []string) error {
		return queryKeys(ctx, a.tx, t, source, keys, func(row scanner) error {
			var key string
			var version int64
			err := row.Scan(&key, &version)
			k := lineKey{sourceKey{source, key}, version == 0}
			a.lines[k] = true
			if a.strict(k) {
				a.bar(k, uint64(version))
			}
			return err
		})
	})
}

// keysToDo returns the keys of what is to be done, in order.
func (a *attempt) keysToDo() []mark {
	keys := make([]mark, 0, len(a.todo))
	for i := range a.todo {
		keys = append(keys, mark{sourceKey: sourceKey{a.todo[i].source, a.todo[i].ev.Key}})
	}
	slices.SortFunc(keys, func(x, y mark) int {
		return cmp.Or(cmp.Compare(x.source, y.source), strings.Compare(x.key, y.key))
	})
	return slices.CompactFunc(keys, func(x, y mark) bool { return x.sourceKey == y.sourceKey })
}

// storeParked writes the new rows. A record that is read again, and is parked already, stays as it is; another one at the
// offset of a log that was cut is parked beside it.
func (a *attempt) storeParked(ctx context.Context) error {
	if err := a.storeRows(ctx, a.tx, a.parked); err != nil {
		return err
	}
	crashpoint.Pass("inbox.D4b")
	return nil
}

func (in *Inbox) storeRows(ctx context.Context, tx Tx, rows []parkedRow) error {
	args := make([]any, 0, parkedColumns*len(rows))
	for i := range rows {
		args = rows[i].append(args, in.cfg.Group)
	}
	_, err := execMany(ctx, tx, &in.sql.park, parkedColumns, args)
	return err
}

// parkedColumns is how many arguments a row has.
const parkedColumns = 21

func (p *parkedRow) append(args []any, group string) []any {
	e, raw, version := p.ev, p.ev.Data, int64(0)
	if e.Err == nil {
		raw, version = e.AppendEnvelope(nil), int64(min(e.Version, math.MaxInt64))
	}
	if raw == nil {
		raw = []byte{} // a record without a value, such as a compaction's tombstone
	}
	return append(args, group, p.state, short8(e.Source), short8(e.Key), version, int64(p.have), short8(e.Type), short8(e.ID),
		b2i(p.reaction), p.attempts, p.why, p.time, e.At.Topic, e.At.Log, e.At.Partition, e.At.Offset, raw,
		p.next, p.seq, p.line, int64(p.upto))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// reportParked logs, once it is committed, what was parked, and what was tried again.
func (a *attempt) reportParked(ctx context.Context) {
	for i := range a.parked {
		p := &a.parked[i]
		if p.state == stateBehind {
			continue // the one before it was told
		}
		level, what := slog.LevelError, "an event is parked"
		if p.id > 0 {
			what = "a parked event failed again"
		}
		switch {
		case p.id > 0 && p.state == stateParked:
			level = slog.LevelWarn
		case p.id == 0 && a.inPlace(p):
			level = slog.LevelDebug
		}
		a.log.Log(ctx, level, what, p.attrs(a.now)...)
	}
	for i := range a.mended {
		a.log.InfoContext(ctx, "a parked event was taken after all", a.mended[i].attrs(a.now)...)
	}
	for i := range a.gone {
		a.log.InfoContext(ctx, "a parked event goes away, for a newer version of its key was applied", a.gone[i].attrs(a.now)...)
	}
}

// inPlace reports whether a new row stands in the place of an earlier one of its key, of which the log has told: else a
// busy key of a projection would fill it with one line for each event.
func (a *attempt) inPlace(p *parkedRow) bool {
	return p.line > 0 && a.lines[lineKey{sourceKey{p.line, p.ev.Key}, p.ev.Version == 0}]
}

// attrs describes a row in the log. Texts come from outside, and may be of any length.
func (p *parkedRow) attrs(now time.Time) []any {
	e := p.ev
	attrs := []any{"state", p.state, "id", short8(e.ID), "source", short8(e.Source), "type", short8(e.Type), "key", short8(e.Key),
		"version", e.Version, "topic", e.At.Topic, "partition", e.At.Partition, "offset", e.At.Offset, "attempts", p.attempts, "err", p.why}
	if p.next > 0 {
		attrs = append(attrs, "after", time.UnixMilli(p.next).Sub(now).Round(time.Millisecond))
	}
	return attrs
}
