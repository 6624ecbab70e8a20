package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// The rule of a bad release. One whose handlers fail at almost everything must not park a whole topic: once events of
// more than badKeys keys were parked within badWindow, and over half of the new events of that time have failed, the
// consumer takes nothing more in which anything fails. It says that it is not ready, and lets the bus bring the
// delivery again. What was parked before goes on being tried.
//
// So a bad release parks about badKeys keys in each badWindow, and no more.
const (
	badKeys   = 100
	badWindow = time.Minute
)

// New events are counted in slots of this length, kept in a ring that spans badWindow.
const (
	paceSlot  = 10 * time.Second
	paceSlots = int64(badWindow/paceSlot) + 2
)

// errBadRelease says that the rule of a bad release keeps a delivery from being taken.
var errBadRelease = errors.New("too many events of too many keys fail, as after a bad release")

// pace counts new events that went well. They are written down only when others fail, so that all being well costs no
// statement. A process that ends takes what it has not written with it: what went well since the last failure.
type pace struct {
	mu    sync.Mutex
	slots map[int64]int64 // by when they began, in milliseconds since 1970
}

func slotOf(now time.Time) int64 {
	return now.UnixMilli() / paceSlot.Milliseconds() * paceSlot.Milliseconds()
}

// add counts n events.
func (p *pace) add(now time.Time, n int64) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(slotOf(now), n)
}

func (p *pace) put(slot, n int64) {
	if p.slots == nil {
		p.slots = make(map[int64]int64)
	}
	p.slots[slot] += n
	for s := range p.slots {
		if s < slot-paceSlots*paceSlot.Milliseconds() {
			delete(p.slots, s)
		}
	}
}

// borrow hands over what was counted, to be written down; giveBack takes it back where that was rolled back.
func (p *pace) borrow() map[int64]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	slots := p.slots
	p.slots = nil
	return slots
}

func (p *pace) giveBack(slots map[int64]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for slot, n := range slots {
		p.put(slot, n)
	}
}

// spell is what an attempt knows of the pace.
type spell struct {
	taken    int64           // new events that were handled here, well or not
	failed   int64           // those of them that have failed
	borrowed map[int64]int64 // from the inbox's pace
	recent   recent
}

// recent is what the table says of the last badWindow, with the keys that have failed here.
type recent struct {
	keys          map[[2]string]bool // source and key; badKeys+1 of the table's at most
	taken, failed int64
}

// slowDown ends an attempt early where nothing can go so well any more that it could be taken.
func (a *attempt) slowDown(ctx context.Context, j *job) error {
	if a.retrying {
		return nil
	}
	if err := a.readRecent(ctx); err != nil {
		return err
	}
	a.spell.recent.keys[[2]string{j.ev.Source, j.ev.Key}] = true
	return a.slow(int64(a.failed), int64(len(a.todo)))
}

// slow applies the rule, where failed of n new events have failed here.
func (a *attempt) slow(failed, n int64) error {
	r := &a.spell.recent
	failed, n = r.failed+failed, r.taken+n
	if len(r.keys) <= badKeys || 2*failed <= n {
		return nil
	}
	return fmt.Errorf("%w: %d or more keys, and %d of %d events within %v", errBadRelease, len(r.keys), failed, n, badWindow)
}

// readRecent reads the last badWindow once. It counts by the table: a restart forgets nothing of what has failed.
func (a *attempt) readRecent(ctx context.Context) error {
	r := &a.spell.recent
	if r.keys != nil {
		return nil
	}
	const (
		keys = `SELECT DISTINCT source, key FROM tidings_inbox_parked
			WHERE grp = $1 AND time > $2 AND reaction = 0 AND line > 0 AND attempts > 0 LIMIT $3`
		sums = `SELECT COALESCE(SUM(taken), 0), COALESCE(SUM(failed), 0) FROM tidings_inbox_pace WHERE grp = $1 AND since >= $2`
	)
	begin := a.now.Add(-badWindow)
	r.keys = make(map[[2]string]bool)
	err := query(ctx, a.tx, func(row scanner) error {
		var k [2]string
		err := row.Scan(&k[0], &k[1])
		r.keys[k] = true
		return err
	}, keys, a.cfg.Group, begin.UnixMilli(), badKeys+1)
	if err != nil {
		return err
	}
	if err := a.tx.QueryRowContext(ctx, sums, a.cfg.Group, slotOf(begin)).Scan(&r.taken, &r.failed); err != nil {
		return err
	}
	a.spell.borrowed = a.pace.borrow()
	for slot, n := range a.spell.borrowed {
		if slot >= slotOf(begin) {
			r.taken += n
		}
	}
	return nil
}

// storePace writes down how many new events there were and how many failed, where any did, and applies the rule.
func (a *attempt) storePace(ctx context.Context) error {
	if a.failed == 0 || a.retrying {
		return nil
	}
	if err := a.slow(a.spell.failed, a.spell.taken); err != nil {
		return err
	}
	const text = `INSERT INTO tidings_inbox_pace (grp, slot, since, taken, failed) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (grp, slot) DO UPDATE SET
		taken = CASE WHEN tidings_inbox_pace.since = excluded.since THEN tidings_inbox_pace.taken ELSE 0 END + excluded.taken,
		failed = CASE WHEN tidings_inbox_pace.since = excluded.since THEN tidings_inbox_pace.failed ELSE 0 END + excluded.failed,
		since = excluded.since`
	now := slotOf(a.now)
	slots := maps.Clone(a.spell.borrowed)
	if slots == nil {
		slots = make(map[int64]int64)
	}
	slots[now] += a.spell.taken
	// In the order of the rows, as all rows are written.
	at := func(slot int64) int64 { return slot / paceSlot.Milliseconds() % paceSlots }
	for _, slot := range slices.SortedFunc(maps.Keys(slots), func(x, y int64) int { return int(at(x) - at(y)) }) {
		failed := int64(0)
		if slot == now {
			failed = a.spell.failed
		}
		if slot < now-badWindow.Milliseconds() {
			continue
		}
		if _, err := a.tx.ExecContext(ctx, text, a.cfg.Group, at(slot), slot, slots[slot], failed); err != nil {
			return err
		}
	}
	return nil
}
