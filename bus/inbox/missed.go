package inbox

import (
	"context"
	"slices"
)

// readCuts finds out what late numbers take out of the ranges that are missing.
func (a *attempt) readCuts(ctx context.Context, s *stream) error {
	const text = `SELECT first, last FROM tidings_inbox_missed WHERE stream = $1 AND first <= $2
		AND first >= COALESCE((SELECT MAX(first) FROM tidings_inbox_missed WHERE stream = $1 AND first <= $3), 0)
		ORDER BY first`
	lowest, highest := s.late[0], s.late[len(s.late)-1]
	return query(ctx, a.tx, func(row scanner) error {
		var first, last int64
		if err := row.Scan(&first, &last); err != nil {
			return err
		}
		if c := cutOut(span{uint64(first), uint64(last)}, s.late); c.came > 0 {
			s.cuts = append(s.cuts, c)
		}
		return nil
	}, text, s.id, int64(highest), int64(lowest))
}

// storeMissed writes the ranges that are missing, and takes out what has come late.
func (a *attempt) storeMissed(ctx context.Context, s *stream) error {
	const text = `DELETE FROM tidings_inbox_missed WHERE stream = $1 AND first = $2 AND last = $3`
	var add []span
	for _, c := range s.cuts {
		if err := one(a.tx.ExecContext(ctx, text, s.id, int64(c.was.first), int64(c.was.last))); err != nil {
			return err
		}
		add = slices.Concat(add, c.left)
	}
	found, err := a.extend(ctx, s, add)
	if err != nil {
		return err
	}
	add = slices.Concat(add, found)
	const cols = 3
	args := make([]any, 0, cols*len(add))
	for _, m := range add {
		args = append(args, s.id, int64(m.first), int64(m.last))
	}
	if _, err := execMany(ctx, a.tx, &a.sql.storeMissed, cols, args); err != nil {
		return err
	}
	s.ranges += int64(len(add) - len(s.cuts))
	return a.fold(ctx, s)
}

// extend returns what was found, without what goes on with the last range before it: that is made longer instead. A loss
// that many heartbeats tell of, one after the other, is one range. left is what late numbers have left of those before.
func (a *attempt) extend(ctx context.Context, s *stream, left []span) ([]span, error) {
	if s.ranges == 0 || len(s.found) == 0 || s.found[0].first != s.old+1 {
		return s.found, nil
	}
	if n := len(left); n > 0 && left[n-1].last == s.old {
		left[n-1].last = s.found[0].last
		return s.found[1:], nil
	}
	const text = `UPDATE tidings_inbox_missed SET last = $1 WHERE stream = $2 AND last = $3
		AND first = (SELECT MAX(first) FROM tidings_inbox_missed WHERE stream = $2)`
	r, err := a.tx.ExecContext(ctx, text, int64(s.found[0].last), s.id, int64(s.old))
	if err != nil {
		return nil, err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return s.found, err // the last number before it came
	}
	return s.found[1:], nil
}

// fold turns the oldest ranges into a count once there are too many of them: a number in them that comes late, after
// ten thousand later losses, is then a repeat like another, and goes on counting as missed.
func (a *attempt) fold(ctx context.Context, s *stream) error {
	excess := s.ranges - maxRanges
	if excess <= 0 {
		return nil
	}
	s.foldedFirst = s.folded == 0
	last := int64(0)
	err := query(ctx, a.tx, func(row scanner) error {
		var m span
		err := row.Scan(&m.first, &m.last)
		s.folded += m.size()
		last = int64(m.last)
		return err
	}, `SELECT first, last FROM tidings_inbox_missed WHERE stream = $1 ORDER BY first LIMIT $2`, s.id, excess)
	if err != nil {
		return err
	}
	s.ranges -= excess
	_, err = a.tx.ExecContext(ctx, `DELETE FROM tidings_inbox_missed WHERE stream = $1 AND first <= $2`, s.id, last)
	return err
}
