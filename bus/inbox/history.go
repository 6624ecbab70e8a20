package inbox

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tidings-dev/tidings/bus"
)

// span is a run of versions, both ends included.
type span struct{ first, last uint64 }

// history is what is on record of one key besides its mark.
type history struct {
	holes   []span
	waiting []uint64 // versions in the waiting table, in order
}

// histories holds those of the keys that have any; most have none, and then it is nil.
type histories map[sourceKey]*history

func (h histories) of(k sourceKey) *history { return h[k] }

func (h histories) get(k sourceKey) *history {
	if h[k] == nil {
		h[k] = &history{}
	}
	return h[k]
}

func (h *history) waits(v uint64) bool {
	if h == nil {
		return false
	}
	_, found := slices.BinarySearch(h.waiting, v)
	return found
}

// hole returns the index of the hole that v is in; -1 where it is in none.
func (h *history) hole(v uint64) int {
	if h == nil {
		return -1
	}
	return slices.IndexFunc(h.holes, func(s span) bool { return s.first <= v && v <= s.last })
}

// readWaiting reads the waiting versions of the keys of this attempt. Most of the time there are none at all, and a look
// into a small table tells.
func (a *attempt) readWaiting(ctx context.Context, t *texts) (histories, error) {
	var some bool
	err := a.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM tidings_inbox_waiting)`).Scan(&some)
	if err != nil || !some {
		return nil, err
	}
	found := make(histories)
	return found, eachSource(a.marks, func(source int64, _ []mark, keys []string) error {
		return queryKeys(ctx, a.tx, t, source, keys, func(row scanner) error {
			var key string
			var version int64
			err := row.Scan(&key, &version)
			h := found.get(sourceKey{source, key})
			at, _ := slices.BinarySearch(h.waiting, uint64(version))
			h.waiting = slices.Insert(h.waiting, at, uint64(version))
			return err
		})
	})
}

// readHoles adds the holes of the keys of this attempt. Whoever changes one has the key's mark.
func (a *attempt) readHoles(ctx context.Context, found histories) (histories, error) {
	var some bool
	err := a.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM tidings_inbox_hole)`).Scan(&some)
	if err != nil || !some {
		return found, err
	}
	if found == nil {
		found = make(histories)
	}
	return found, eachSource(a.marks, func(source int64, _ []mark, keys []string) error {
		return queryKeys(ctx, a.tx, &a.sql.holes, source, keys, func(row scanner) error {
			var key string
			var first, last int64
			err := row.Scan(&key, &first, &last)
			h := found.get(sourceKey{source, key})
			h.holes = append(h.holes, span{uint64(first), uint64(last)})
			return err
		})
	})
}

// siftEvery decides for one key of a history: the next version is applied, with what waited for it; a later one
// waits; a late one is applied if it is in a hole.
func (a *attempt) siftEvery(ctx context.Context, m *mark, order []int32, h *history) error {
	var later map[uint64]*item // of this delivery, waiting
	for _, i := range order {
		it := &a.items[i]
		v := it.ev.Version
		switch {
		// It was given up, and comes all the same: better late than never.
		case v <= m.new && h.hole(v) >= 0:
			it.apply, it.late = true, true
			if err := a.fill(ctx, m.sourceKey, h, v); err != nil {
				return err
			}
		// Done, or waiting already.
		case v <= m.new || h.waits(v) || later[v] != nil:
			a.counts.add(counterDuplicates, 1)
		// The next one; or the first of a key whose earlier history this group was never to see.
		case v == m.new+1 || m.new == 0 && !it.whole && h == nil && later == nil:
			it.apply, m.new = true, v
			if err := a.follow(ctx, m, int(i), later, h); err != nil {
				return err
			}
		// Something before it is missing. It may still come in this very delivery.
		default:
			if later == nil {
				later = make(map[uint64]*item)
			}
			later[v] = it
		}
	}
	for _, v := range slices.Sorted(maps.Keys(later)) { // in order, as all rows are written
		a.hold = append(a.hold, heldEvent{later[v].ev, later[v].source})
	}
	return nil
}

// follow lets what waited for item i follow it, up to the next version that is missing: from this delivery, or from
// the waiting table, whose rows are then removed.
func (a *attempt) follow(ctx context.Context, m *mark, i int, later map[uint64]*item, h *history) error {
	for {
		v := m.new + 1
		it := later[v]
		if it == nil && h.waits(v) {
			e, err := a.held(ctx, m.sourceKey, v)
			if err != nil {
				return err
			}
			it = &item{ev: e, source: m.source}
			a.release = append(a.release, heldKey{m.sourceKey, v})
		}
		if it == nil {
			return nil
		}
		delete(later, v) // what is left in later at the end has to wait
		if a.then == nil {
			a.then = make(map[int][]*item)
		}
		a.then[i] = append(a.then[i], it)
		m.new = v
	}
}

// fill takes version v out of its hole, which shrinks, splits or closes.
func (a *attempt) fill(ctx context.Context, k sourceKey, h *history, v uint64) error {
	i := h.hole(v)
	s := h.holes[i]
	var left []span
	if s.first < v {
		left = append(left, span{s.first, v - 1})
	}
	if v < s.last {
		left = append(left, span{v + 1, s.last})
	}
	// Later events of this delivery must see the hole as it is now.
	h.holes = slices.Replace(h.holes, i, i+1, left...)
	const text = `DELETE FROM tidings_inbox_hole WHERE source = $1 AND key = $2 AND first = $3`
	if err := one(a.tx.ExecContext(ctx, text, k.source, k.key, int64(s.first))); err != nil {
		return fmt.Errorf("hole of key %q at version %d: %w", k.key, v, err)
	}
	for _, s := range left {
		if err := a.dig(ctx, k, s); err != nil {
			return err
		}
	}
	return nil
}

// dig records a hole.
func (a *attempt) dig(ctx context.Context, k sourceKey, s span) error {
	const text = `INSERT INTO tidings_inbox_hole (source, key, first, last) VALUES ($1, $2, $3, $4)`
	_, err := a.tx.ExecContext(ctx, text, k.source, k.key, int64(s.first), int64(s.last))
	return err
}

// held reads an event that waits.
func (a *attempt) held(ctx context.Context, k sourceKey, v uint64) (*bus.Event, error) {
	const text = `SELECT envelope, topic, log, part, off FROM tidings_inbox_waiting WHERE source = $1 AND key = $2 AND version = $3`
	e, err := scanEvent(a.tx.QueryRowContext(ctx, text, k.source, k.key, int64(v)))
	if err != nil {
		return nil, fmt.Errorf("waiting event of key %q, version %d: %w", k.key, v, err)
	}
	return &e, nil
}

// scanEvent reads an event from a row that begins with its envelope and position. The envelope holds the data's bytes
// as they came, so fields that this program does not know survive the wait.
func scanEvent(row scanner, rest ...any) (bus.Event, error) {
	var envelope []byte
	var at bus.Position
	err := row.Scan(append([]any{&envelope, &at.Topic, &at.Log, &at.Partition, &at.Offset}, rest...)...)
	if err != nil {
		return bus.Event{}, err
	}
	e, err := bus.ParseEnvelope(envelope)
	e.At = at
	return e, err
}
