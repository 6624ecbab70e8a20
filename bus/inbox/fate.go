package inbox

import (
	"context"
	"errors"
)

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
			if !errors.Is(a.why[j.ev], errUnread) {
				a.spell.taken++
				a.spell.failed++
			}
		}
		if trouble {
			if err := fates.add(ctx, j); err != nil {
				return err
			}
		}
	}
	return fates.store(ctx)
}

// maxNamed bounds the types of twins that a transaction names: whoever writes to the topic makes them up.
const maxNamed = 64

// ignore counts an event that no route takes, unless it is to be parked. Either way its mark moves on, for the key's
// history does. Its twins are named, too: a later release that takes one of them has missed this one.
func (a *attempt) ignore(j *job) {
	if a.cfg.Unknown != Ignore {
		return
	}
	a.ignored.add(j.ev.Type, 1)
	for _, name := range j.ev.Alternatives() {
		if unfitText(name) == "" && len(a.ignored.names) < maxNamed {
			a.ignored.name(name)
		}
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
