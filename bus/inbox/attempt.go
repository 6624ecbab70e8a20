package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// attempt is one try at taking events in, inside one transaction. What it has gathered is written in finish, and
// nothing of it outlives a rollback.
type attempt struct {
	*Inbox
	tx  Tx
	now time.Time

	sifting bool // a handler has failed: the events at fault are found and parked, see sieve
	unnamed bool // and it has not said which event it was

	retrying bool // what was parked is tried again

	parts  []part // by range of the delivery
	last   int    // the part of the last event, where the search for the next one begins
	reread []bus.Position

	streams  []*stream // numberings that the delivery tells of, in order of their rows
	byStream map[streamKey]*stream
	bySource []streamKey // those that events were of, without the log; while they are gone through
	recent   *stream     // where the search for the next one begins
	tooHigh  int         // numbers that are above maxSeq

	items []item          // what is to be sifted, in the delivery's order
	todo  []job           // what is to be applied, in order
	then  map[int][]*item // what follows an item of a delivery: events that waited for it

	marks     []mark // changed ones are stored
	hold      []heldEvent
	release   []heldKey // rows of the waiting table that are done
	reactions []reaction
	counts    counts
	ignored   counts

	barred map[lineKey]uint64   // keys whose later events are kept behind a parked one, and its version
	lines  map[lineKey]bool     // keys that have a parked event of before
	failed int                  // jobs that have failed
	why    map[*bus.Event]error // and why
	parked []parkedRow          // to be stored, or, of a retry, that have failed again
	mended []parkedRow          // of a retry, that have succeeded
	gone   []parkedRow          // of a retry, that a newer version has made up for
	spell  spell                // what this attempt adds to the inbox's pace

	missing    int64      // versions passed over, for the log
	missedFrom *bus.Event // the first event that came after some
	newSources map[string]int64
}

// item is an event with a version, on its way through the marks.
type item struct {
	ev     *bus.Event
	h      *handlers // as far as they were looked up
	source int64
	whole  bool // a key without a mark begins at version 1
	apply  bool
	late   bool // it fills a hole: later versions of its key were applied before
}

// job is an event to be applied.
type job struct {
	ev     *bus.Event
	h      *handlers  // nil: no route takes it
	made   *converted // once it was
	source int64      // the number of ev.Source
	late   bool       // see item
	was    outcome
}

// outcome is what became of a job.
type outcome uint8

const (
	jobOpen    outcome = iota // still to be tried
	jobDone                   // its handlers have taken it
	jobStrange                // no route takes its type
	jobFailed                 // it is the event at fault
	jobKept                   // it has to wait behind one of its key that has failed
)

// sourceKey names a history.
type sourceKey struct {
	source int64
	key    string
}

// deliver takes a delivery in. The steps are those of the package's documentation, which says what a crash between
// any two of them does.
func (a *attempt) deliver(ctx context.Context, d bus.Delivery) error {
	crashpoint.Pass("inbox.D1")
	if err := a.decide(ctx, d.Ranges); err != nil {
		return err
	}
	if err := a.hear(ctx, d); err != nil {
		return err
	}
	crashpoint.Pass("inbox.D2")
	if err := a.take(ctx, d.Events); err != nil {
		return err
	}
	if err := a.takeOnce(ctx); err != nil {
		return err
	}
	if err := a.sift(ctx); err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	a.line()
	return a.finish(ctx)
}

// take picks the events of the ranges that are taken. Records that are no events are parked, and events of sources that
// are not asked for are passed over, as are those that can't be read and have a twin that can. Pointers into events are
// kept until the end of the attempt, and no longer: the bus uses the slice again.
func (a *attempt) take(ctx context.Context, events []bus.Event) error {
	a.items = make([]item, 0, len(events))
	if err := a.learnSources(ctx, events); err != nil {
		return err
	}
	var source int64
	var name string
	for i := range events {
		e := &events[i]
		p, err := a.partOf(e)
		if err != nil {
			return err
		}
		if p != nil && (!p.take || e.At.Offset < p.from) {
			continue
		}
		if e.Err == nil && a.cfg.foreign(e.Source) {
			a.counts.add(counterForeign, 1)
			continue
		}
		if why := unfit(e); why != nil {
			a.parkUnfit(e, why)
			continue
		}
		h := a.handlersOf(e)
		if h == nil && a.hasTwin(e) {
			continue
		}
		if e.Source != name || name == "" {
			if source, err = a.sourceID(ctx, e.Source); err != nil {
				return fmt.Errorf("source %q: %w", e.Source, err)
			}
			name = e.Source
		}
		a.items = append(a.items, item{ev: e, h: h, source: source, whole: a.whole(p, e)})
	}
	return nil
}

// whole reports whether the group has followed e's partition, or its source by numbers, from the very start: then each
// key begins at version 1.
func (a *attempt) whole(p *part, e *bus.Event) bool {
	if p != nil {
		return p.whole
	}
	s := a.streamOf(e)
	return s != nil && s.whole
}

// takeOnce marks events without a version by their ids, in order of source and id, and picks the new ones: a row that
// another replica is making is waited for. What no route takes is not marked, for such marks grow with every event.
func (a *attempt) takeOnce(ctx context.Context) error {
	var loose []*item
	for i := range a.items {
		it := &a.items[i]
		if it.ev.Version > 0 {
			continue
		}
		if it.apply = it.h == nil; !it.apply {
			loose = append(loose, it)
		}
	}
	slices.SortStableFunc(loose, func(x, y *item) int {
		return cmp.Or(cmp.Compare(x.source, y.source), strings.Compare(x.ev.ID, y.ev.ID))
	})
	const text = `INSERT INTO tidings_inbox_done (source, id) VALUES ($1, $2) ON CONFLICT (source, id) DO NOTHING`
	for _, it := range loose {
		r, err := a.tx.ExecContext(ctx, text, it.source, it.ev.ID)
		if err == nil {
			it.apply, err = isOne(r)
		}
		if err != nil {
			return fmt.Errorf("mark of event %s: %w", it.ev.ID, err)
		}
		if !it.apply {
			a.counts.add(counterDuplicates, 1)
		}
	}
	return nil
}

func isOne(r sql.Result) (bool, error) {
	n, err := r.RowsAffected()
	return n == 1, err
}

// handlersOf returns the handlers of e's type; nil where no route takes it.
func (a *attempt) handlersOf(e *bus.Event) *handlers { return a.routes.of(e.Type) }

// line puts what is to be applied in order: that of the delivery, with what waited for an event right behind it.
func (a *attempt) line() {
	a.todo = make([]job, 0, len(a.items))
	for i := range a.items {
		if it := &a.items[i]; it.apply {
			a.todo = append(a.todo, a.job(it))
		}
		for _, it := range a.then[i] {
			a.todo = append(a.todo, a.job(it))
		}
	}
}

// job makes a job of an item. One that was stored before may be of a type that only another release can read.
func (a *attempt) job(it *item) job {
	h := it.h
	if h == nil {
		h = a.handlersOf(it.ev)
	}
	if h == nil {
		if twin, name := a.routes.twin(it.ev); twin != nil {
			h = unread(it.ev, name)
		}
	}
	return job{ev: it.ev, h: h, source: it.source, late: it.late}
}

// finish applies what is to be done and writes down that it was: effects, reactions, marks, positions, counters.
func (a *attempt) finish(ctx context.Context) error {
	if err := a.readLines(ctx); err != nil {
		return fmt.Errorf("parked events: %w", err)
	}
	crashpoint.Pass("inbox.D3")
	if err := a.apply(ctx); err != nil {
		return err
	}
	crashpoint.Pass("inbox.D4a")
	if err := a.settle(ctx); err != nil {
		return fmt.Errorf("parked events: %w", err)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"parked events", a.storeParked},
		{"queue", a.storeReactions},
		{"waiting events", a.storeWaiting},
		{"marks", a.storeMarks},
		{"positions", a.storePositions},
		{"numbers", a.storeStreams},
		{"pace", a.storePace},
		{"counters", a.storeCounts},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	crashpoint.Pass("inbox.D8a")
	return nil
}

func (a *attempt) storeCounts(ctx context.Context) error {
	if err := a.counts.store(ctx, a.tx, a.cfg.Group); err != nil {
		return err
	}
	return storeIgnored(ctx, a.tx, a.cfg.Group, &a.ignored)
}

// report logs, once it is committed, what was missing.
func (a *attempt) report(ctx context.Context) {
	if a.missing > 0 {
		a.log.WarnContext(ctx, "versions are missing", "versions", a.missing,
			"source", short8(a.missedFrom.Source), "key", short8(a.missedFrom.Key), "before", a.missedFrom.Version)
	}
	a.reportParked(ctx)
	a.reportNumbers(ctx)
}
