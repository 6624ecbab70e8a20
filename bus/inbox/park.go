package inbox

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
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
	row.attempts++
	row.why = errorText(why)
	row.state, row.next = stateParked, a.now.Add(retryDelay(row.attempts, why)).UnixMilli()
	if bus.IsPermanent(why) || a.cfg.Attempts > 0 && row.attempts >= a.cfg.Attempts {
		row.state, row.next = stateDead, 0
	}
}

// readLines reads which keys of what is to be done have a parked event of before, and locks the front of each line. The
// keys with a version are locked by their marks already; those without one have nothing else to be locked by. As a rule
// there are no lines at all, and a look into an index tells.
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
	return eachSource(a.keysToDo(), func(source int64, _ []mark, keys []string) error {
		return queryKeys(ctx, a.tx, &a.sql.lines, source, keys, func(row scanner) error {
			var key string
			var version int64
			err := row.Scan(&key, &version)
			k := lineKey{sourceKey{source, key}, version == 0}
			a.lines[k] = true
			if a.strict(k) {
				a.bar(k)
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

// fate is what becomes of one line in this attempt.
type fate struct {
	have    uint64     // the last version applied
	row     *parkedRow // a projection's newest version that has failed
	clear   uint64     // a projection's line is removed up to this version
	upto    uint64     // a projection's line is still the newest, for what came after up to here changes nothing
	counted bool       // have is known
}

// settle writes down what became of the jobs: rows for what has failed, or waits; reactions; counts.
func (a *attempt) settle(ctx context.Context) error {
	fates := fates{a: a}
	trouble := a.failed > 0 || len(a.lines) > 0 || a.cfg.Unknown == Park
	for i := range a.todo {
		j := &a.todo[i]
		switch j.was {
		case jobDone:
			a.spell.taken++
			a.react(j)
		case jobStrange:
			a.ignore(j)
		case jobFailed:
			a.spell.taken++
			a.spell.failed++
		}
		if trouble {
			if err := fates.add(ctx, j); err != nil {
				return err
			}
		}
	}
	return fates.store(ctx)
}

// ignore counts an event that no route takes, unless it is to be parked. Either way its mark moves on, for the key's
// history does.
func (a *attempt) ignore(j *job) {
	if a.cfg.Unknown == Ignore {
		a.ignored.add(j.ev.Type, 1)
	}
}

// fates gathers what becomes of lines.
type fates struct {
	a     *attempt
	all   map[lineKey]*fate
	order []lineKey
}

func (f *fates) of(k lineKey) *fate {
	if f.all == nil {
		f.all = make(map[lineKey]*fate)
	}
	if f.all[k] == nil {
		f.all[k] = &fate{}
		f.order = append(f.order, k)
	}
	return f.all[k]
}

func (f *fates) add(ctx context.Context, j *job) error {
	k := j.line()
	t := f.of(k)
	switch {
	case j.was == jobDone:
		if !j.late { // what came late was passed over before
			t.have, t.counted = j.ev.Version, true
		}
		t.row, t.clear, t.upto = nil, j.ev.Version, 0
		return nil
	case j.was == jobStrange && f.a.cfg.Unknown == Ignore:
		t.passed(j.ev.Version)
		return nil
	}
	row, err := f.row(ctx, k, t, j)
	if err != nil {
		return err
	}
	switch {
	case j.was == jobStrange:
		t.passed(j.ev.Version)
	case j.was == jobFailed && !f.a.strict(k):
		t.row, t.clear, t.upto = &row, j.ev.Version, 0
		return nil // unless a newer one makes up for it
	}
	f.a.parked = append(f.a.parked, row)
	return nil
}

// passed says that version v of a projection's key came and changes nothing.
func (t *fate) passed(v uint64) {
	if t.row != nil {
		t.row.upto = v
	}
	t.upto = v
}

// row makes the row of a job that is not done.
func (f *fates) row(ctx context.Context, k lineKey, t *fate, j *job) (row parkedRow, err error) {
	a := f.a
	row = parkedRow{ev: j.ev, upto: j.ev.Version, time: a.now.UnixMilli()}
	if !t.counted && !k.loose {
		if t.have, _, err = have(ctx, a.tx, a.cfg.Group, j.ev.Source, j.ev.Key); err != nil {
			return row, err
		}
		t.counted = true
	}
	row.have = t.have
	switch {
	case j.was == jobStrange:
		row.state, row.why = stateUnknown, "no route takes events of type "+short8(j.ev.Type)
	case j.was == jobKept:
		row.state, row.line = stateBehind, -j.source
	default:
		a.failing(&row, a.why[j.ev])
		if !j.late {
			row.line = j.source
		}
	}
	return row, nil
}

// store removes what newer versions of projections make up for, in order of the rows, and hands over the rows that are
// to be stored.
func (f *fates) store(ctx context.Context) error {
	a := f.a
	for _, k := range f.order {
		t := f.all[k]
		if a.strict(k) {
			continue
		}
		if err := a.supersede(ctx, k, t); err != nil {
			return err
		}
		if t.row != nil {
			a.parked = append(a.parked, *t.row)
		}
	}
	return nil
}

// supersede removes a projection's parked versions up to the one that was applied, or has failed instead.
func (a *attempt) supersede(ctx context.Context, k lineKey, t *fate) error {
	const (
		remove = `DELETE FROM tidings_inbox_parked WHERE line IN ($1, $2) AND key = $3 AND version > 0 AND version <= $4`
		pass   = `UPDATE tidings_inbox_parked SET upto = $1 WHERE line = $2 AND key = $3 AND version > 0`
	)
	var err error
	switch {
	case !a.lines[k]:
	case t.clear > 0:
		_, err = a.tx.ExecContext(ctx, remove, k.source, -k.source, k.key, int64(t.clear))
	case t.upto > 0:
		_, err = a.tx.ExecContext(ctx, pass, int64(t.upto), k.source, k.key)
	}
	return err
}

// storeParked writes the new rows. A record that is read again, and is parked already, stays as it is.
func (a *attempt) storeParked(ctx context.Context) error { return a.storeRows(ctx, a.tx, a.parked) }

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
		if p.id > 0 && p.state == stateParked {
			level = slog.LevelWarn
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
