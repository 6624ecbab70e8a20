package inbox

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// rowColumns are those that scanRow reads.
const rowColumns = `raw, topic, log, part, off, id, state, line, key, version, have, upto, attempts, next, time`

// scanRow reads a row that is to be tried. An envelope that can't be read leaves the event with Err.
func scanRow(row scanner) (parkedRow, error) {
	var p parkedRow
	var raw []byte
	var at bus.Position
	var key string
	var version, have, upto int64
	err := row.Scan(&raw, &at.Topic, &at.Log, &at.Partition, &at.Offset, &p.id, &p.state, &p.line, &key, &version, &have, &upto, &p.attempts, &p.next, &p.time)
	if err != nil {
		return p, err
	}
	e, wrong := bus.ParseEnvelope(raw)
	if wrong != nil {
		e = bus.Event{Key: key, Version: uint64(version), Err: wrong}
	}
	e.At = at
	p.ev, p.have, p.upto = &e, uint64(have), uint64(upto)
	return p, nil
}

// lockRow reads a row again, and locks it; nil where it is gone, or, if skip says so, where another holds it.
func (a *attempt) lockRow(ctx context.Context, id int64, skip bool) (*parkedRow, error) {
	lock := a.forUpdate
	if skip {
		lock = a.skipLocked()
	}
	p, err := scanRow(a.tx.QueryRowContext(ctx, `SELECT `+rowColumns+` FROM tidings_inbox_parked WHERE id = $1`+lock, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &p, err
}

// behind reads what waits behind the front of a line, as many as one transaction takes.
func (a *attempt) behind(ctx context.Context, k lineKey) (rows []parkedRow, err error) {
	text := `SELECT ` + rowColumns + ` FROM tidings_inbox_parked WHERE line = $1 AND key = $2 AND version > 0 ORDER BY version, id LIMIT $3`
	if k.loose {
		text = `SELECT ` + rowColumns + ` FROM tidings_inbox_parked WHERE line = $1 AND key = $2 AND version = 0 ORDER BY version, id LIMIT $3`
	}
	err = query(ctx, a.tx, func(row scanner) error {
		p, err := scanRow(row)
		rows = append(rows, p)
		return err
	}, text, -k.source, k.key, a.cfg.MaxBatch)
	return rows, err
}

// settleRows writes down what the tries of rows came to. The first that has failed is the new front of its line.
func (a *attempt) settleRows(ctx context.Context, k lineKey, rows []parkedRow) error {
	have, head := rows[0].have, rows[0]
	for i := range rows {
		row, j := &rows[i], &a.todo[i]
		var err error
		switch j.was {
		case jobDone:
			have = max(have, j.ev.Version)
			a.react(j)
			a.mended = append(a.mended, *row)
			err = a.taken(ctx, k, row)
		case jobStrange:
			a.ignore(j)
			err = a.leave(ctx, row)
		case jobFailed:
			a.failing(row, a.why[j.ev])
			if row.line != 0 {
				row.line, row.have = k.source, have
			}
			a.parked = append(a.parked, *row)
			err = a.update(ctx, row)
		}
		if err != nil {
			return err
		}
	}
	if head.line == 0 || a.failed > 0 {
		return nil
	}
	return promote(ctx, a.tx, k, have, a.now)
}

// taken removes a row that has succeeded, and what it makes up for.
func (a *attempt) taken(ctx context.Context, k lineKey, row *parkedRow) error {
	if err := a.remove(ctx, row.id); err != nil || a.strict(k) {
		return err
	}
	return a.clear(ctx, k, row.ev.Version)
}

// leave takes a row whose type this program has no route for out of its line. It stays, whatever Config.Unknown says of
// what comes: another release has parked it, and may be back.
func (a *attempt) leave(ctx context.Context, row *parkedRow) error {
	row.state, row.line, row.next, row.why = stateUnknown, 0, 0, "no route takes events of type "+short8(row.ev.Type)
	a.parked = append(a.parked, *row)
	return a.update(ctx, row)
}

func (a *attempt) update(ctx context.Context, p *parkedRow) error {
	const text = `UPDATE tidings_inbox_parked SET state = $1, line = $2, have = $3, attempts = $4, next = $5, error = $6 WHERE id = $7`
	return one(a.tx.ExecContext(ctx, text, p.state, p.line, int64(p.have), p.attempts, p.next, p.why, p.id))
}

// promote puts the first of those behind to the front of a line that has none any more, to be tried at once.
func promote(ctx context.Context, tx Tx, k lineKey, have uint64, now time.Time) error {
	const text = `UPDATE tidings_inbox_parked SET state = 'parked', line = $1, have = $2, attempts = 0, next = $3
		WHERE id = (SELECT id FROM tidings_inbox_parked WHERE line = $4 AND key = $5 AND `
	which := `version > 0`
	if k.loose {
		which = `version = 0`
	}
	_, err := tx.ExecContext(ctx, text+which+` ORDER BY version, id LIMIT 1)`, k.source, int64(have), now.UnixMilli(), -k.source, k.key)
	return err
}
