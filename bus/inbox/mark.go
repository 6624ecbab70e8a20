package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// mark is the last version of a key that was done, before and after this attempt.
type mark struct {
	sourceKey
	old, new uint64
	known    bool // there is a row
}

// sift sorts the versioned events by key, reads the marks, and decides of each whether it is to be applied. Rows are
// read and written in key order, so that two transactions never wait for one another in a circle.
func (a *attempt) sift(ctx context.Context) error {
	order := a.byKey()
	a.marks = a.marksOf(order)
	// From here on order is cut into runs, one for each mark, in the same order.
	h, err := a.readKeys(ctx)
	if err != nil {
		return err
	}
	at := 0
	for m := range a.marks {
		end := at
		for end < len(order) && a.items[order[end]].is(&a.marks[m].sourceKey) {
			end++
		}
		if a.every {
			if err := a.siftEvery(ctx, &a.marks[m], order[at:end], h.of(a.marks[m].sourceKey)); err != nil {
				return err
			}
		} else {
			a.siftNewest(&a.marks[m], order[at:end])
		}
		at = end
	}
	return nil
}

func (it *item) is(k *sourceKey) bool { return it.source == k.source && it.ev.Key == k.key }

// byKey returns the indexes of the versioned items in order of source, key, and then of the delivery.
func (a *attempt) byKey() []int32 {
	order := make([]int32, 0, len(a.items))
	for i := range a.items {
		if a.items[i].ev.Version > 0 {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(i, j int32) int {
		x, y := &a.items[i], &a.items[j]
		if x.source != y.source {
			return cmp.Compare(x.source, y.source)
		}
		if c := strings.Compare(x.ev.Key, y.ev.Key); c != 0 {
			return c
		}
		return cmp.Compare(i, j)
	})
	return order
}

// marksOf makes a mark for each key in order.
func (a *attempt) marksOf(order []int32) []mark {
	marks := make([]mark, 0, len(order))
	for _, i := range order {
		it := &a.items[i]
		if n := len(marks); n == 0 || !it.is(&marks[n-1].sourceKey) {
			marks = append(marks, mark{sourceKey: sourceKey{it.source, it.ev.Key}})
		}
	}
	return marks
}

// eachSource calls fn for the marks of each source, with their keys. Mostly there is one source. The keys are valid
// until fn returns.
func eachSource(marks []mark, fn func(source int64, marks []mark, keys []string) error) error {
	keys := make([]string, 0, len(marks))
	for from := 0; from < len(marks); {
		source := marks[from].source
		keys = keys[:0]
		for i := from; i < len(marks) && marks[i].source == source; i++ {
			keys = append(keys, marks[i].key)
		}
		if err := fn(source, marks[from:from+len(keys)], keys); err != nil {
			return err
		}
		from += len(keys)
	}
	return nil
}

// readKeys reads what the database has of the keys, and locks it against other replicas: what waits, then the marks,
// each in key order, so that nobody waits in a circle. What waits is locked for the keys that have no mark yet, and read
// only behind the locks: a statement that has waited for one shows what else was there before the wait.
func (a *attempt) readKeys(ctx context.Context) (h histories, err error) {
	if a.every && a.forUpdate != "" {
		if _, err := a.readWaiting(ctx, &a.sql.lockWaiting); err != nil {
			return nil, fmt.Errorf("waiting events: %w", err)
		}
	}
	if err := a.readMarks(ctx); err != nil || !a.every {
		return nil, err
	}
	if h, err = a.readWaiting(ctx, &a.sql.waiting); err != nil {
		return nil, fmt.Errorf("waiting events: %w", err)
	}
	return a.readHoles(ctx, h)
}

// readMarks fills in what the database has of the marks. A key that is not there has been seen by nobody.
func (a *attempt) readMarks(ctx context.Context) error {
	return eachSource(a.marks, func(source int64, marks []mark, keys []string) error {
		at := 0
		return queryKeys(ctx, a.tx, &a.sql.marks, source, keys, func(row scanner) error {
			var key string
			var version int64
			if err := row.Scan(&key, &version); err != nil {
				return err
			}
			// Rows come in the order of the marks as a rule, which saves the search.
			for ; at < len(marks) && marks[at].key < key; at++ {
			}
			if at == len(marks) || marks[at].key != key {
				var found bool
				if at, found = slices.BinarySearchFunc(marks, key, func(m mark, key string) int { return strings.Compare(m.key, key) }); !found {
					return fmt.Errorf("the database answers for key %q, which was not asked for", key)
				}
			}
			m := &marks[at]
			m.old, m.new, m.known = uint64(version), uint64(version), true
			return nil
		})
	})
}

// siftNewest decides for one key of a projection: whatever is newer is applied.
func (a *attempt) siftNewest(m *mark, order []int32) {
	for _, i := range order {
		it := &a.items[i]
		v := it.ev.Version
		switch {
		// The first that this group sees of the key is its base: what came before was never to be read.
		case m.new == 0 && !it.whole:
		case v <= m.new:
			a.counts.add(counterDuplicates, 1)
			continue
		case v > m.new+1:
			a.pass(it, v-m.new-1)
		}
		it.apply, m.new = true, v
	}
}

// pass counts versions that a projection passes over. Should one of them come later, it is older than what is there,
// and a duplicate.
func (a *attempt) pass(it *item, missing uint64) {
	a.counts.add(counterMissing, int64(missing))
	a.missing += int64(missing)
	if a.missedFrom == nil {
		a.missedFrom = it.ev
	}
}

// storeMarks writes the marks that have moved. Those that were there are locked since they were read; the statement
// moves them forward only. One that was not there must still not be there. So fewer rows changed than were sent says
// that somebody else has moved one meanwhile: then what was decided by it is void.
func (a *attempt) storeMarks(ctx context.Context) error {
	for _, s := range [...]struct {
		texts *texts
		known bool
	}{{&a.sql.moveMarks, true}, {&a.sql.newMarks, false}} {
		const cols = 3
		args := make([]any, 0, cols*len(a.marks))
		for i := range a.marks {
			if m := &a.marks[i]; m.new > m.old && m.known == s.known {
				args = append(args, m.source, m.key, int64(m.new))
			}
		}
		changed, err := execMany(ctx, a.tx, s.texts, cols, args)
		if err == nil && changed != int64(len(args)/cols) {
			err = errMoved
		}
		if err != nil {
			return err
		}
	}
	crashpoint.Pass("inbox.D7a")
	return nil
}

// have returns the last version of a key that was applied, and its mark, which is higher where later versions are
// parked, or wait behind one that is. Both are 0 where the key was never seen.
func have(ctx context.Context, q querier, group, source string, key string) (applied, mark uint64, err error) {
	const text = `SELECT m.version, COALESCE(
			(SELECT MIN(p.have) FROM tidings_inbox_parked p WHERE p.line = s.id AND p.key = m.key AND p.version > 0),
			(SELECT MIN(p.have) FROM tidings_inbox_parked p
				WHERE p.grp = s.grp AND p.source = s.source AND p.key = m.key AND p.version = m.version AND p.reaction = 0),
			m.version)
		FROM tidings_inbox_source s
		JOIN tidings_inbox_mark m ON m.source = s.id
		WHERE s.grp = $1 AND s.source = $2 AND m.key = $3`
	err = q.QueryRowContext(ctx, text, group, source, key).Scan(&mark, &applied)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return applied, mark, err
}
